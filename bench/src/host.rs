//! What a report says of the machine that it was made on, and of how it was called.

use serde::Serialize;

/// The machine, the program and its command line.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// How it was called.
    pub command: String,
    /// Version of xlns.
    pub version: &'static str,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory of the machine, MiB.
    pub memory_mib: u64,
    /// Processes that ran or wanted to in the minute before: what else the machine did.
    pub load_average: f64,
    /// Where the kernel has its time from.
    pub clock_source: String,
    /// What runs this machine as a guest; `None` where nothing says so.
    pub virtual_machine: Option<String>,
    /// The policy of the first core's frequency; `None` where the machine has none.
    pub governor: Option<String>,
    /// Huge pages set aside.
    pub huge_pages: u64,
}

impl Host {
    /// Of this process, now.
    pub fn read() -> Self {
        let memory_kib = first_line("/proc/meminfo", |line| {
            line.strip_prefix("MemTotal:").map(|rest| rest.trim().trim_end_matches("kB"))
        });
        let huge_pages = first_line("/proc/meminfo", |line| line.strip_prefix("HugePages_Total:"));
        let load = first_line("/proc/loadavg", |line| line.split_whitespace().next());
        Self {
            command: std::env::args().collect::<Vec<_>>().join(" "),
            version: env!("CARGO_PKG_VERSION"),
            kernel: first_line("/proc/sys/kernel/osrelease", |line| Some(line)),
            cpu: first_line("/proc/cpuinfo", |line| {
                Some(line.strip_prefix("model name")?.split_once(':')?.1)
            }),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib.parse::<u64>().unwrap_or(0) / 1024,
            load_average: load.parse().unwrap_or(0.0),
            clock_source: first_line(CLOCK_SOURCE, |line| Some(line)),
            virtual_machine: virtual_machine(),
            governor: some(first_line(GOVERNOR, |line| Some(line))),
            huge_pages: huge_pages.parse().unwrap_or(0),
        }
    }
}

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const GOVERNOR: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";

/// What firmware or the processor says of it.
fn virtual_machine() -> Option<String> {
    let product = first_line("/sys/class/dmi/id/product_name", |line| Some(line));
    let is_guest = first_line("/proc/cpuinfo", |line| {
        line.strip_prefix("flags").filter(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
    });
    some(is_guest).map(|_| some(product).unwrap_or_else(|| "unnamed".to_owned()))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, kernel, cpu, cores, load_average, .. } = self;
        let guest = if self.virtual_machine.is_some() { " (a guest)" } else { "" };
        writeln!(f, "$ {command}")?;
        writeln!(
            f,
            "Linux {kernel}, {cpu}, {cores} cores{guest}, load average {load_average} before"
        )
    }
}

/// What `find` makes of the first line of a file that has it; empty where none has.
fn first_line(path: &str, find: impl Fn(&str) -> Option<&str>) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().find_map(find).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known() {
        let host = Host::read();
        assert!(host.cores > 0 && host.memory_mib > 0 && !host.kernel.is_empty(), "{host:?}");
        assert_eq!(first_line("/no/such/file", |line| Some(line)), "");
    }
}
