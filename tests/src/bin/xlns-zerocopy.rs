//! Zero-copy for real, in a guest under QEMU: xlns on NICs that share their rings with it.
//!
//! Asserts that every port says zero-copy, compares each packet of a run octet by octet both ways,
//! and measures what a packet costs the guest's CPUs, xlns and the kernel's own L2TP in turn. Writes
//! `target/zerocopy/summary.json`, and removes everything, also at Ctrl-C.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use xlns_tests::deadline::Deadline;
use xlns_tests::netns::Netns;
use xlns_tests::process::run;
use xlns_tests::program::{self, Steps, clean_up_at_signals, median, write_summary};
use xlns_tests::qemu::access::{Access, Caller};
use xlns_tests::qemu::archive;
use xlns_tests::qemu::lns::{self, LOGIN, SECRET, Xlns};
use xlns_tests::qemu::machine::{self, Machine, Nic};
use xlns_tests::qemu::traffic::{Direction, Traffic};
use xlns_tests::qemu::wire::Wire;
use xlns_tests::topology::{ACCESS_PORT, CORE_ADDRESS, CORE_PORT, LAC_ADDRESS, LNS_ADDRESS};
use xlns_tests::{Lab, LabError, Result};

/// Frames that wait in the socket of a wire; ten, the system's own figure, would have QEMU woken for
/// every ten.
const WIRE_FRAMES: &str = "512";

/// Before a measurement: what the emulator translates, it translates once.
const WARM_UP: Duration = Duration::from_millis(700);

/// How long a load is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// How long the guest's own share is measured at a time, and how often at most.
const IDLE_SLICE: Duration = Duration::from_millis(700);
const IDLE_SLICES_MAX: u32 = 40;

/// A guest is at rest where two such slices are below this share of a CPU, and as close together.
const RESTS_BELOW: f64 = 0.2;
const RESTS_WITHIN: f64 = 0.015;

/// Zero-copy for real, in a guest under QEMU.
#[derive(Debug, Parser)]
struct Options {
    /// How often each LNS is measured, in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Packets a second while a packet's cost is measured.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1000..=100_000))]
    rate: u32,
    /// Packets that are compared, each way.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    packets: u32,
    /// Run guest and driver at real-time priority: other work of this machine disturbs less, and is
    /// disturbed, for about a minute.
    #[arg(long)]
    realtime: bool,
    /// CPUs of the guest.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    cpus: u16,
    /// Before anything is measured, start and stop xlns so often: each time its sockets share the NICs'
    /// rings, and give them back.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    restarts: u32,
    /// Look for a newer kernel in the archive.
    #[arg(long)]
    refresh: bool,
}

/// What `target/zerocopy/summary.json` holds.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Whether every port of xlns says that it shares its frames with the NIC.
    zero_copy: bool,
    /// Packets of the run in which each is compared.
    sent_up: u32,
    received_up: u32,
    sent_down: u32,
    received_down: u32,
    /// CPU time a packet of xlns over that of the kernel's L2TP, medians.
    cpu_ratio_up: f64,
    cpu_ratio_down: f64,
    /// Microseconds of the guest's CPUs a packet, in the order of measurement.
    xlns_up: Cost,
    xlns_down: Cost,
    kernel_up: Cost,
    kernel_down: Cost,
    /// What was measured, on what.
    rate_per_second: u32,
    packet_bytes: usize,
    guest_cpus: u16,
    guest_kernel: String,
    qemu: String,
    command: String,
    seconds: f64,
}

/// What a packet costs.
#[derive(Debug, Default, Serialize)]
struct Cost {
    /// The middle one.
    median_micros: f64,
    /// The largest less the smallest.
    spread_micros: f64,
    /// All.
    micros: Vec<f64>,
}

impl Cost {
    fn settle(&mut self) {
        self.median_micros = hundredths(median(self.micros.clone()));
        let (least, most) = self
            .micros
            .iter()
            .fold((f64::MAX, 0_f64), |(least, most), value| (least.min(*value), most.max(*value)));
        self.spread_micros = hundredths((most - least).max(0.0));
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::main("lab", |interrupted| measure_all(&options, interrupted))
}

fn measure_all(options: &Options, interrupted: &Arc<AtomicBool>) -> Result<()> {
    let lab = Lab::start("zerocopy")?;
    clean_up_at_signals(lab.reaper(), Arc::clone(interrupted))?;
    println!("Zero-copy in a guest. Every log: {}\n", lab.logs().display());
    let mut steps = Steps::new();
    let folder = lab.target().join("zerocopy");
    let kernel = archive::obtain(&folder, options.refresh)?;
    let mut summary = Summary {
        guest_kernel: kernel.version.clone(),
        qemu: machine::version()?,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        rate_per_second: options.rate,
        packet_bytes: xlns_tests::qemu::traffic::LOAD_BYTES,
        guest_cpus: options.cpus,
        ..Summary::default()
    };
    steps.done(&format!("kernel for the guest: Linux {}", kernel.version));
    if options.realtime {
        // What is started from here on inherits it.
        let own = std::process::id().to_string();
        run(Command::new("chrt").args(["--rr", "--all-tasks", "--pid", "1", &own]))?;
    }
    let namespace = Netns::create(&lab, "vm")?;
    namespace.set("net/unix/max_dgram_qlen", WIRE_FRAMES)?;
    let nics = nics(&lab);
    let [access, core] = &nics;
    let (mut access, mut core) = namespace.inside(|| {
        Ok((
            Wire::open(access, [2, 0, 0, 0, 1, 1], LAC_ADDRESS)?,
            Wire::open(core, [2, 0, 0, 0, 1, 2], CORE_ADDRESS)?,
        ))
    })?;
    let machine = Machine::boot(&lab, &namespace, &kernel, options.cpus, &nics, &lns::network())?;
    access.connect()?;
    core.connect()?;
    steps.done(&format!("guest booted: {} CPUs, QEMU {}", options.cpus, summary.qemu));
    let mut bench = Bench { lab: &lab, machine: &machine, options, seed: 0 };
    for number in 1..=options.restarts {
        Xlns::start(&lab, &machine.guest, "")?.stop()?;
        steps.done(&format!("started and stopped, {number} of {}", options.restarts));
    }
    for _ in 0..options.rounds {
        bench.round_of_xlns(&mut access, &mut core, &mut steps, &mut summary)?;
        bench.round_of_kernel(&mut access, &mut core, &mut steps, &mut summary)?;
    }
    drop(machine);
    drop((access, core, namespace));
    drop(lab);
    steps.done("everything removed");
    conclude(summary, &steps, &folder.join("summary.json"))
}

fn nics(lab: &Lab) -> [Nic; 2] {
    let nic = |interface: &'static str, last| Nic {
        interface,
        mac: [2, 0, 0, 0, 0, last],
        guest_end: lab.scratch().join(format!("{interface}.guest")),
        driver_end: lab.scratch().join(format!("{interface}.driver")),
    };
    [nic(ACCESS_PORT, 1), nic(CORE_PORT, 2)]
}

/// The figures, and whether they are what they have to be.
fn conclude(mut summary: Summary, steps: &Steps, path: &std::path::Path) -> Result<()> {
    for cost in [
        &mut summary.xlns_up,
        &mut summary.xlns_down,
        &mut summary.kernel_up,
        &mut summary.kernel_down,
    ] {
        cost.settle();
    }
    let ratio = |xlns: &Cost, kernel: &Cost| hundredths(xlns.median_micros / kernel.median_micros);
    summary.cpu_ratio_up = ratio(&summary.xlns_up, &summary.kernel_up);
    summary.cpu_ratio_down = ratio(&summary.xlns_down, &summary.kernel_down);
    summary.seconds = hundredths(steps.elapsed().as_secs_f64());
    println!("\nCPU time a packet, us    xlns, zero-copy    kernel L2TP    ratio");
    for (name, xlns, kernel, ratio) in [
        ("upstream", &summary.xlns_up, &summary.kernel_up, summary.cpu_ratio_up),
        ("downstream", &summary.xlns_down, &summary.kernel_down, summary.cpu_ratio_down),
    ] {
        let (xlns, kernel) = (xlns.median_micros, kernel.median_micros);
        println!("{name:<22} {xlns:>17.2} {kernel:>14.2} {ratio:>8.2}");
    }
    write_summary(path, &summary)
}

struct Bench<'a> {
    lab: &'a Lab,
    machine: &'a Machine,
    options: &'a Options,
    seed: u16,
}

impl Bench<'_> {
    fn round_of_xlns(
        &mut self,
        access: &mut Wire,
        core: &mut Wire,
        steps: &mut Steps,
        summary: &mut Summary,
    ) -> Result<()> {
        let first = summary.xlns_up.micros.is_empty();
        let xlns = Xlns::start(self.lab, &self.machine.guest, "")?;
        let mut modes = Vec::new();
        for port in xlns.ports()? {
            modes.push(port["mode"].as_str().unwrap_or_default().to_owned());
            if port["mode"] != "native-zero-copy" {
                return Err(xlns.error(&format!("did not get zero-copy: {port}")));
            }
        }
        summary.zero_copy = modes.len() == 2;
        let mut traffic = self.dial(access, core)?;
        steps.done(&format!("xlns is up: {}; a subscriber is in", modes.join(", ")));
        if first {
            let up = traffic.compare(Direction::Upstream, self.options.packets)?;
            let down = traffic.compare(Direction::Downstream, self.options.packets)?;
            (summary.sent_up, summary.received_up) = (up.sent, up.received);
            (summary.sent_down, summary.received_down) = (down.sent, down.received);
            steps.done(&format!(
                "compared octet by octet: {} of {} up, {} of {} down",
                up.received, up.sent, down.received, down.sent
            ));
            if up.received != up.sent || down.received != down.sent {
                let counters = xlns.show("counters")?;
                return Err(xlns.error(&format!("lost packets; its counters: {counters:?}")));
            }
        }
        let [up, down] = self.measure(&mut traffic, steps, "xlns")?;
        summary.xlns_up.micros.push(up);
        summary.xlns_down.micros.push(down);
        Ok(())
    }

    fn round_of_kernel(
        &mut self,
        access: &mut Wire,
        core: &mut Wire,
        steps: &mut Steps,
        summary: &mut Summary,
    ) -> Result<()> {
        let server = lns::start_kernel(&self.machine.guest)?;
        let traffic = self.dial(access, core);
        let mut traffic = traffic.map_err(|error| server.error(&error.to_string()))?;
        lns::check_kernel(&self.machine.guest)?;
        steps.done("xl2tpd and pppd are up, on the guest's own L2TP; a subscriber is in");
        let [up, down] = self.measure(&mut traffic, steps, "kernel")?;
        summary.kernel_up.micros.push(up);
        summary.kernel_down.micros.push(down);
        Ok(())
    }

    fn dial<'a>(&mut self, access: &'a mut Wire, core: &'a mut Wire) -> Result<Traffic<'a>> {
        let caller = Caller { lac: LAC_ADDRESS, lns: LNS_ADDRESS, secret: SECRET, login: LOGIN };
        // Another tunnel each time: an LNS may still know the one of before.
        self.seed += 1;
        let access = Access::dial(access, caller, self.seed)?;
        Ok(Traffic::new(access, core, CORE_ADDRESS))
    }

    /// Microseconds a packet, up and down.
    fn measure(
        &self,
        traffic: &mut Traffic<'_>,
        steps: &mut Steps,
        name: &str,
    ) -> Result<[f64; 2]> {
        let rate = self.options.rate;
        let idle = self.idle_share(traffic)?;
        let mut costs = [0.0; 2];
        for (direction, cost) in Direction::ALL.into_iter().zip(&mut costs) {
            traffic.load(direction, rate, WARM_UP)?;
            let (counts, share, elapsed) =
                self.share(|| traffic.load(direction, rate, MEASURED))?;
            if counts.received == 0 {
                return Err(LabError::new(format!("{name} forwards nothing {}", direction.name())));
            }
            let seconds = (share - idle) * elapsed.as_secs_f64();
            *cost = hundredths(seconds * 1e6 / f64::from(counts.received));
            steps.done(&format!(
                "{name}, {}: {cost:.2} us a packet ({} of {} arrived, {:.0} a second; idle {:.1} %)",
                direction.name(),
                counts.received,
                counts.sent,
                f64::from(counts.sent) / MEASURED.as_secs_f64(),
                100.0 * idle
            ));
        }
        Ok(costs)
    }

    /// The share of a CPU that the guest uses by itself, once it has come to rest: what was started
    /// just now goes on for some seconds.
    fn idle_share(&self, traffic: &mut Traffic<'_>) -> Result<f64> {
        let mut last = 1.0;
        for _ in 0..IDLE_SLICES_MAX {
            let ((), share, _) = self.share(|| traffic.rest(IDLE_SLICE))?;
            if share < RESTS_BELOW && (last - share).abs() < RESTS_WITHIN {
                return Ok(f64::midpoint(share, last));
            }
            last = share;
        }
        Err(LabError::new(format!(
            "the guest does not come to rest: {:.0} % of a CPU without a packet",
            100.0 * last
        )))
    }

    /// What `work` yields, the share of a CPU that the guest used meanwhile, and how long it took.
    fn share<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64, Duration)> {
        let clock = Deadline::after(MEASURED);
        let before = self.machine.cpu_time()?;
        let done = work()?;
        let (used, elapsed) = (self.machine.cpu_time()? - before, clock.elapsed());
        Ok((done, used.as_secs_f64() / elapsed.as_secs_f64(), elapsed))
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
