//! The audit: a simulation that finds nothing proves something only if it finds what is there.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{collections::BTreeSet, panic, process::ExitCode, time::Instant};

use orderlog_core::planted::{self, let_loose};
use orderlog_domain::planted as of_rules;
use orderlog_simulation::run;

/// Let each bug loose whose name contains `only`, and look for a seed that shows it. All of them have to be found.
pub fn run_all(only: &str, n_seeds_max: u64) -> ExitCode {
    // Some of them make the program panic, which is a way of being found; what a run counts them by is set on top of this.
    panic::set_hook(Box::new(|_| {}));
    let mut escaped = Vec::new();
    let engines = planted::Bug::ALL.iter().map(|bug| bug.name());
    let names: Vec<_> = engines.chain(of_rules::Bug::ALL.iter().map(|bug| bug.name())).collect();
    assert!(names.iter().collect::<BTreeSet<_>>().len() == names.len(), "two bugs of one name are let loose together");
    let bugs: Vec<_> = names.into_iter().filter(|bug| bug.contains(only)).collect();
    for bug in bugs.iter().copied() {
        let_loose(Some(bug));
        let began = Instant::now();
        let found = (1..=n_seeds_max).find_map(|seed| Some((seed, run(seed, false).faults.into_iter().next()?)));
        let_loose(None);
        match found {
            Some((seed, fault)) => {
                let fault = fault.to_string().chars().take(120).collect::<String>();
                println!("{bug}: seed {seed}, {:.1} s: {fault}", began.elapsed().as_secs_f64());
            }
            None => {
                println!("{bug}: ESCAPED {n_seeds_max} seeds");
                escaped.push(bug);
            }
        }
    }
    println!("{} of {} planted bugs were found", bugs.len() - escaped.len(), bugs.len());
    if escaped.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
