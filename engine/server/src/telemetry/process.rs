//! Resource use of this process, from Linux's `/proc/self`. On other systems these metrics are missing.

use std::{fs, path::Path, sync::LazyLock};

use orderlog_runtime::now_ms;
use rustix::fs::statvfs;

use super::sheet::Sheet;

/// In the kernel's interface a tick is a hundredth of a second, whatever the kernel's internal rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Set at the start, by [`begin`].
static STARTED_MS: LazyLock<i64> = LazyLock::new(now_ms);

/// Remembers the start time of the process.
pub fn begin() {
    LazyLock::force(&STARTED_MS);
}

/// Memory, CPU time, threads, open files, and the disk of the data folder.
pub fn write(sheet: &mut Sheet, data: &Path) {
    if let Ok(disk) = statvfs(data) {
        for (name, help, n_blocks) in [
            (
                "orderlog_data_disk_free_bytes",
                "Free space on the disk of the data folder, for this user",
                disk.f_bavail,
            ),
            ("orderlog_data_disk_size_bytes", "Size of the disk of the data folder", disk.f_blocks),
        ] {
            sheet.count(name, help, &[], n_blocks.saturating_mul(disk.f_frsize));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in a double")]
    let started = *STARTED_MS as f64 / 1_000.0;
    sheet.gauge("process_start_time_seconds", "When the process started", &[], started);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_status = |name: &str| first_number(status.lines().find_map(|line| line.strip_prefix(name))?);
    let memory = [
        ("process_resident_memory_bytes", "Memory in use", "VmRSS:"),
        ("process_virtual_memory_bytes", "Address space in use", "VmSize:"),
    ];
    for (name, help, field) in memory {
        if let Some(kib) = of_status(field) {
            sheet.gauge(name, help, &[], kib * 1_024.0);
        }
    }
    if let Some(n) = of_status("Threads:") {
        sheet.gauge("process_threads", "Threads", &[], n);
    }
    if let Some(seconds) = cpu_seconds(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) {
        sheet.counter("process_cpu_seconds_total", "CPU time used", &[], seconds);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is this directory.
        let n = u32::try_from(entries.count().saturating_sub(1)).unwrap_or(u32::MAX);
        sheet.gauge("process_open_fds", "Open files and sockets", &[], f64::from(n));
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(n) = limits.lines().find_map(|line| first_number(line.strip_prefix("Max open files")?)) {
        sheet.gauge("process_max_fds", "The maximum number of open files and sockets", &[], n);
    }
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// User and system time from `/proc/self/stat`. The name in parentheses may contain spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 12345";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }
}
