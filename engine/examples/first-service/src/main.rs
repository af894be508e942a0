//! The program: a list of one service.

use std::process::ExitCode;

use orderlog_first_service::VouchersService;
use orderlog_server::{
    prelude::{About, Registry},
    program,
};

static PROGRAM: Registry = Registry {
    about: About { name: "first-service", summary: "Vouchers on an append-only log.", ..About::NONE },
    codes: &[],
    services: &[&VouchersService],
    demo: None,
};

fn main() -> ExitCode {
    program::main(&PROGRAM)
}
