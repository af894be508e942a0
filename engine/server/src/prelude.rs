//! Everything that a program with services imports.

pub use std::process::ExitCode;

pub use orderlog_http::prelude::*;

pub use crate::{
    program,
    registry::{About, Registry},
};
