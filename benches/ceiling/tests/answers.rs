//! That it does what it is held for: all of HTTP and JSON.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

#[test]
fn an_order_is_answered_as_if_it_were_placed() -> Result<(), Box<dyn std::error::Error>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_orderlog-ceiling")).arg(address.to_string()).spawn()?;
    let answered = ask(&address.to_string());
    program.kill()?;
    program.wait()?;
    let answer = answered?;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains(r#""state":"placed""#) && answer.contains(r#""total":3780"#), "{answer}");
    Ok(())
}

fn ask(address: &str) -> std::io::Result<String> {
    let line = r#"{"sku": "beans", "quantity": 2, "unit_price": 1890}"#;
    let customer = "01890000-0000-7000-8000-000000000000";
    let body = format!(r#"{{"customer_id": "{customer}", "currency": "EUR", "lines": [{line}]}}"#);
    let until = Instant::now() + Duration::from_secs(30);
    let mut connection = loop {
        match TcpStream::connect(address) {
            Err(_) if Instant::now() < until => std::thread::yield_now(),
            connected => break connected?,
        }
    };
    let head = format!("Host: {address}\r\nContent-Type: application/json\r\nConnection: close");
    write!(connection, "POST /orders HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
