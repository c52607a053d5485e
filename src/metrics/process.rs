//! The process as every Prometheus client shows it. On Linux, from `/proc`; elsewhere there is nothing to read.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Page, table};

/// `sysconf(_SC_CLK_TCK)`: of the interface to user space, and so the same on every Linux.
const TICKS: f64 = 100.0;

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time, in seconds.
    pub cpu: f64,
    /// In memory, in bytes.
    pub resident: f64,
    /// Mapped, in bytes.
    pub virtual_memory: f64,
    /// Seconds since 1970.
    pub started: f64,
    /// Of files and sockets.
    pub open_fds: f64,
    /// How many there may be; infinite if there is no limit.
    pub max_fds: f64,
    /// Of the process.
    pub threads: f64,
}

impl Process {
    /// Asks the kernel. None where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let (stat, limits) =
            (fs::read_to_string("/proc/self/stat").ok()?, fs::read_to_string("/proc/self/limits").ok()?);
        // The program's name may hold anything, but its last parenthesis is the last one.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        // As proc_pid_stat(5) numbers them; the first one here is the third.
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        let max_fds =
            limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?;
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS,
            threads: field(20)?,
            started: now - uptime + field(22)? / TICKS,
            virtual_memory: field(23)?,
            resident: field(24)? * rustix::param::page_size() as f64,
            // The one that lists them is not one of them.
            open_fds: (fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)) as f64,
            max_fds: max_fds.parse().unwrap_or(f64::INFINITY),
        })
    }
}

/// Writes what is known of the process. `started` is what was read first: the clock may have been set since.
pub fn process(page: &mut Page, started: Option<f64>) {
    let Some(now) = Process::read() else { return };
    page.single(&table::PROCESS_CPU, now.cpu);
    page.single(&table::PROCESS_RESIDENT, now.resident);
    page.single(&table::PROCESS_VIRTUAL, now.virtual_memory);
    page.single(&table::PROCESS_STARTED, started.unwrap_or(now.started));
    page.single(&table::PROCESS_OPEN_FDS, now.open_fds);
    page.single(&table::PROCESS_MAX_FDS, now.max_fds);
    page.single(&table::PROCESS_THREADS, now.threads);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_and_the_process_agree() {
        let before = Process::read().unwrap();
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let mut sum = 0_u64;
        let began = std::time::Instant::now();
        while Process::read().unwrap().cpu < before.cpu + 0.02 {
            sum = sum.wrapping_add(1);
            assert!(began.elapsed() < Duration::from_secs(60), "{sum}");
        }
        let now = Process::read().unwrap();
        // Other tests open and close some meanwhile.
        assert!(now.open_fds >= files.len() as f64 && now.max_fds > now.open_fds, "{now:?}");
        assert!(now.resident > 1e6 && now.virtual_memory > now.resident && now.threads >= 1.0, "{now:?}");
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - now.started;
        assert!((0.0..3600.0).contains(&age), "{age}");
    }
}
