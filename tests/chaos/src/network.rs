//! A network namespace, linked to the machine's own by one cable that can be cut: packets are lost then, nobody is told.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A namespace; gone when dropped.
pub struct Network {
    name: String,
    /// The machine's address, as seen from both sides.
    pub outside: String,
    /// The address in the namespace.
    pub inside: String,
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("`ip`, of the package iproute2")?;
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Network {
    /// One with addresses of its own.
    ///
    /// # Errors
    /// If the system refuses: only root may.
    pub fn new() -> Result<Self> {
        let number = std::process::id() % 250 + 1;
        let (outside, inside) = (format!("10.231.{number}.1"), format!("10.231.{number}.2"));
        let network = Self { name: format!("chaos{number}"), outside, inside };
        let (cable, name) = (format!("chaos{number}o"), network.name.as_str());
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "cable", "netns", name])?;
        ip(&["addr", "add", &format!("{}/24", network.outside), "dev", &cable])?;
        ip(&["link", "set", &cable, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/24", network.inside), "dev", "cable"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        network.mend()?;
        Ok(network)
    }

    /// What runs a program in the namespace.
    pub fn within(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Nothing goes through from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn cut(&self) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", "cable", "down"])
    }

    /// It does again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn mend(&self) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", "cable", "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(ip(&["netns", "del", &self.name]));
    }
}
