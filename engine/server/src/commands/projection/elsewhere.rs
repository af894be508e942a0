//! `all` on one of several processes: the services that it has, and those that others have.

use std::fs;

use orderlog_http::names::ServiceName;

use super::ServiceArgs;
use crate::{
    commands::{Services, exit::Exit, running::Running},
    config::LogUrl,
    output,
    registry::Registry,
};

/// The services that are left out, since other processes have them.
pub struct Elsewhere(Vec<ServiceName>);

impl ServiceArgs {
    /// Narrows `all` to the services of the running server or, on Kafka, to those with a read model in the data folder.
    pub async fn here(self, registry: &Registry) -> anyhow::Result<(Self, Elsewhere)> {
        let all = &self.services.0;
        if all.len() < registry.services.len() {
            return Ok((self, Elsewhere(Vec::new())));
        }
        let there = match Running::find(&self.place).await? {
            Some(running) => running.services().await?,
            None if self.place.storage.log == LogUrl::Embedded => return Ok((self, Elsewhere(Vec::new()))),
            None => {
                let files = fs::read_dir(&self.place.storage.data)?.flatten();
                let before_dot = |name: String| name.split('.').next().unwrap_or_default().to_owned();
                files.map(|file| before_dot(file.file_name().to_string_lossy().into_owned())).collect()
            }
        };
        let is_here = |service: &ServiceName| there.iter().any(|name| name == service.as_str());
        let (here, elsewhere): (Vec<_>, Vec<_>) = all.iter().copied().partition(is_here);
        if here.is_empty() {
            // The command itself says what is missing.
            return Ok((self, Elsewhere(Vec::new())));
        }
        Ok((Self { services: Services(here), ..self }, Elsewhere(elsewhere)))
    }
}

impl Elsewhere {
    /// Notes which services were left out, and the command for them. The exit code is for commands that promise something for all.
    pub fn note(&self, command: &str, asked: &ServiceArgs) -> Exit {
        let names = |services: &[ServiceName]| services.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
        if self.0.is_empty() {
            return Exit::Done;
        }
        output::note(&format!(
            "this was {} only; not looked at: {}, which other processes run. For each of them: `orderlog {command} SERVICE --server URL`, \
             or --data with the folder of its process",
            names(&asked.services.0),
            names(&self.0),
        ));
        Exit::Refused
    }
}
