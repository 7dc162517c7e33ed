//! A machine with which all is well, for tests to spoil, and one of which nothing can be read.

use super::kernel::Version;
use super::machine::{
    Capabilities, Cpu, Host, HugePages, Interrupt, Machine, Plan, Port, Process, Running,
    RunningPort, Spreading,
};
use super::{Level, examine};
use crate::netlink::{Channels, Features, HashFields, Interface};

/// Eight CPUs on two nodes, two ports of mlx5 with four queues each, four workers, zero-copy.
pub fn machine() -> Machine {
    let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
    let running = |interface: &String| RunningPort {
        interface: interface.clone(),
        mode: "native-zero-copy".to_owned(),
        not_better: Vec::new(),
    };
    Machine {
        host: host(),
        ports: interfaces.iter().zip(2..).map(|(name, index)| port(name, index)).collect(),
        plan: Plan { workers: 4, ..Plan::of_interfaces(&interfaces) },
        running: Ok(Running {
            ports: interfaces.iter().map(running).collect(),
            cores: (0..4).map(Some).collect(),
        }),
    }
}

fn host() -> Host {
    let cpu = |core: u16| Cpu {
        siblings: vec![core],
        node: Some(core / 4),
        governor: Some("performance".to_owned()),
    };
    Host {
        kernel: Ok(Version(6, 18)),
        cpus: Ok((0..8).map(|core| (core, cpu(core))).collect()),
        isolated: Ok(vec![0, 1, 2, 3]),
        tickless: Ok(vec![0, 1, 2, 3]),
        irqbalance: Ok(false),
        huge_pages: Ok(HugePages { total: 64, free: 0, page_bytes: 2 << 20 }),
        tun: true,
        jit: Ok(1),
        receive_buffer_max: Ok(8 << 20),
        forwarding: [Ok(true), Ok(true)],
        reverse_path: Some(0),
        conntrack: None,
        process: Process {
            is_dataplane: true,
            capabilities: Ok(Capabilities(u64::MAX)),
            memlock_bytes: Ok(u64::MAX),
            huge_bytes: Ok(64 << 20),
        },
    }
}

fn port(name: &str, index: u32) -> Port {
    let hash = Some(HashFields { addresses: true, ports: true });
    Port {
        interface: name.to_owned(),
        link: Ok(Interface {
            name: name.to_owned(),
            index,
            ethernet: true,
            up: true,
            carrier: true,
            mtu: 1538,
            mtu_max: 9000,
            xdp_program: Some(7),
            ..Interface::default()
        }),
        driver: Ok("mlx5_core".to_owned()),
        numa_node: Some(0),
        channels: Ok(Some(Channels { combined: 4, combined_max: 64, ..Channels::default() })),
        features: Ok(Features::default()),
        spreading: Ok(Some(Spreading {
            entries: (0..4).map(|queue| (queue, 32)).collect(),
            udp: [hash; 2],
        })),
        interrupts: Ok((0..4)
            .map(|queue| Interrupt { number: 100 + u32::from(queue), queue, cpus: vec![queue] })
            .collect()),
        peer: None,
    }
}

/// A machine of which nothing can be read but that its ports are there.
pub fn unreadable() -> Machine {
    let mut machine = machine();
    let why = || "Permission denied".to_owned();
    machine.host = Host {
        kernel: Err(why()),
        cpus: Err(why()),
        isolated: Err(why()),
        tickless: Err(why()),
        irqbalance: Err(why()),
        huge_pages: Err(why()),
        tun: true,
        jit: Err(why()),
        receive_buffer_max: Err(why()),
        forwarding: [Err(why()), Err(why())],
        reverse_path: None,
        conntrack: None,
        process: Process {
            is_dataplane: false,
            capabilities: Err(why()),
            memlock_bytes: Err(why()),
            huge_bytes: Err(why()),
        },
    };
    machine.running = Err(why());
    for port in &mut machine.ports {
        port.driver = Err(why());
        port.channels = Err(why());
        port.features = Err(why());
        port.spreading = Err(why());
        port.interrupts = Err(why());
        if let Ok(link) = &mut port.link {
            link.xdp_program = None;
        }
    }
    machine
}

/// The level, and all that is said, of one check of a subject.
#[track_caller]
pub fn find(machine: &Machine, check: &str, subject: &str) -> (Level, String) {
    let findings = examine(machine);
    let mut them = findings.iter().filter(|it| it.check == check && it.subject == subject);
    let finding = them.next().unwrap_or_else(|| panic!("no {check} of {subject}"));
    assert_eq!(them.next(), None, "one finding a check and subject");
    let said = [finding.finding.as_str(), &finding.advice, &finding.command].join("\n");
    (finding.level, said)
}
