//! The machine as a whole, from `/proc` and `/sys`.

use std::collections::BTreeMap;

use super::super::kernel::Version;
use super::super::machine::{Capabilities, Conntrack, Cpu, Host, HugePages, Process, Reading};
use super::files::{Files, keyed, leading_number, parse};

/// The data plane as `/proc/PID/comm` has it.
const DATAPLANE: &str = "xlns-dataplane";

const IRQBALANCE: &str = "irqbalance";

/// Reads it.
pub(super) fn read(files: &Files, tun_name: &str) -> Host {
    let sysctl = |name: &str| format!("proc/sys/{name}");
    let flag = |name: &str| files.value::<u32>(&sysctl(name)).map(|value| value != 0);
    Host {
        kernel: kernel(files),
        cpus: cpus(files),
        isolated: files.cpus("sys/devices/system/cpu/isolated"),
        tickless: files.cpus("sys/devices/system/cpu/nohz_full"),
        irqbalance: named(files, IRQBALANCE).map(|ids| !ids.is_empty()),
        huge_pages: huge_pages(files),
        tun: files.path("dev/net/tun").exists(),
        jit: files.value(&sysctl("net/core/bpf_jit_enable")),
        receive_buffer_max: files.value(&sysctl("net/core/rmem_max")),
        forwarding: [flag("net/ipv4/ip_forward"), flag("net/ipv6/conf/all/forwarding")],
        reverse_path: reverse_path(files, tun_name),
        conntrack: conntrack(files),
        process: process(files),
    }
}

fn kernel(files: &Files) -> Reading<Version> {
    let release = files.read("proc/sys/kernel/osrelease")?;
    Version::parse(&release).ok_or_else(|| format!("{release:?} is not understood"))
}

fn cpus(files: &Files) -> Reading<BTreeMap<u16, Cpu>> {
    const FOLDER: &str = "sys/devices/system/cpu";
    files.read(&format!("{FOLDER}/online"))?;
    let online = files.cpus(&format!("{FOLDER}/online"))?;
    let mut cpus: BTreeMap<u16, Cpu> = online
        .into_iter()
        .map(|core| {
            let file = |name: &str| format!("{FOLDER}/cpu{core}/{name}");
            let cpu = Cpu {
                siblings: files.cpus(&file("topology/thread_siblings_list")).unwrap_or_default(),
                node: None,
                governor: files.read(&file("cpufreq/scaling_governor")).ok(),
            };
            (core, cpu)
        })
        .collect();
    const NODES: &str = "sys/devices/system/node";
    for node in files.numbers(NODES, "node").unwrap_or_default() {
        let Ok(number) = u16::try_from(node) else { continue };
        for core in files.cpus(&format!("{NODES}/node{node}/cpulist")).unwrap_or_default() {
            if let Some(cpu) = cpus.get_mut(&core) {
                cpu.node = Some(number);
            }
        }
    }
    Ok(cpus)
}

fn huge_pages(files: &Files) -> Reading<HugePages> {
    let text = files.read("proc/meminfo")?;
    let number = |key: &str| {
        let missing = || format!("no {key} in /proc/meminfo: the kernel has no huge pages");
        keyed(&text, key).and_then(leading_number).ok_or_else(missing)
    };
    Ok(HugePages {
        total: number("HugePages_Total")?,
        free: number("HugePages_Free")?,
        page_bytes: number("Hugepagesize")?.saturating_mul(1024),
    })
}

/// The stricter of what all interfaces have and the device itself.
fn reverse_path(files: &Files, tun_name: &str) -> Option<u32> {
    let of = |name: &str| files.value::<u32>(&format!("proc/sys/net/ipv4/conf/{name}/rp_filter"));
    Some(of(tun_name).ok()?.max(of("all").unwrap_or(0)))
}

/// What is not tracked at all is not in use: the kernel begins with the first rule that asks for it.
fn conntrack(files: &Files) -> Option<Conntrack> {
    let value = |name: &str| files.value::<u64>(&format!("proc/sys/net/netfilter/{name}")).ok();
    let count = value("nf_conntrack_count").filter(|count| *count > 0)?;
    Some(Conntrack { count, max: value("nf_conntrack_max")? })
}

/// Processes of that name.
fn named(files: &Files, name: &str) -> Reading<Vec<u32>> {
    let mut ids = files.numbers("proc", "")?;
    ids.retain(|id| files.text(&format!("proc/{id}/comm")).is_ok_and(|comm| comm == name));
    Ok(ids)
}

/// The data plane of this network namespace, else this process.
fn process(files: &Files) -> Process {
    let namespace = |id: &str| std::fs::read_link(files.path(&format!("proc/{id}/ns/net"))).ok();
    let own = namespace("self");
    let is_here = |id: &u32| {
        // One whose namespace may not be read could be here.
        namespace(&id.to_string()).is_none_or(|other| own.as_ref() == Some(&other))
    };
    let dataplane = named(files, DATAPLANE).unwrap_or_default().into_iter().find(is_here);
    let folder = dataplane.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let status = files.read(&format!("proc/{folder}/status"));
    let of_status = |key: &str| -> Reading<String> {
        let status = status.as_ref().map_err(Clone::clone)?;
        keyed(status, key).map(str::to_owned).ok_or_else(|| format!("no {key} in its status"))
    };
    Process {
        is_dataplane: dataplane.is_some(),
        capabilities: of_status("CapEff").and_then(|hex| {
            u64::from_str_radix(&hex, 16).map(Capabilities).map_err(|error| error.to_string())
        }),
        memlock_bytes: memlock(&files.read(&format!("proc/{folder}/limits"))),
        huge_bytes: of_status("HugetlbPages")
            .map(|text| leading_number(&text).unwrap_or(0).saturating_mul(1024)),
    }
}

/// The soft limit.
fn memlock(limits: &Reading<String>) -> Reading<u64> {
    const NAME: &str = "Max locked memory";
    let limits = limits.as_ref().map_err(Clone::clone)?;
    let line = limits.lines().find_map(|line| line.strip_prefix(NAME));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => parse(number),
        None => Err(format!("no {NAME} in its limits")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::tree;
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
                          Max locked memory         8388608              unlimited            bytes\n";

    const MACHINE: &[(&str, &str)] = &[
        ("proc/sys/kernel/osrelease", "6.1.0-9-amd64\n"),
        ("proc/sys/net/core/bpf_jit_enable", "1\n"),
        ("proc/sys/net/core/rmem_max", "212992\n"),
        ("proc/sys/net/ipv4/ip_forward", "1\n"),
        ("proc/sys/net/ipv6/conf/all/forwarding", "0\n"),
        ("proc/sys/net/ipv4/conf/all/rp_filter", "1\n"),
        ("proc/sys/net/ipv4/conf/xlns0/rp_filter", "0\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
        (
            "proc/meminfo",
            "HugePages_Total:     8\nHugePages_Free:      3\nHugepagesize:    2048 kB\n",
        ),
        ("proc/1/comm", "init\n"),
        ("proc/77/comm", "irqbalance\n"),
        ("proc/88/comm", "xlns-dataplane\n"),
        (
            "proc/88/status",
            "Name:\txlns-dataplane\nCapEff:\t0000000000003000\nHugetlbPages:\t  2048 kB\n",
        ),
        ("proc/88/limits", LIMITS),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("sys/devices/system/cpu/isolated", "1\n"),
        ("sys/devices/system/cpu/nohz_full", "(null)\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n"),
        ("sys/devices/system/node/node0/cpulist", "0\n"),
        ("sys/devices/system/node/node1/cpulist", "1\n"),
        ("dev/net/tun", ""),
    ];

    #[test]
    fn a_machine_is_read() {
        let (_folder, files) = tree(MACHINE);
        let host = read(&files, "xlns0");
        assert_eq!(host.kernel, Ok(Version(6, 1)));
        let cpus = host.cpus.unwrap();
        assert_eq!((cpus[&0].siblings.as_slice(), cpus[&0].node), (&[0, 1][..], Some(0)));
        assert_eq!((cpus[&1].governor.as_deref(), cpus[&1].node), (Some("powersave"), Some(1)));
        assert_eq!((host.isolated, host.tickless), (Ok(vec![1]), Ok(vec![])));
        assert_eq!(host.irqbalance, Ok(true));
        assert_eq!(host.huge_pages, Ok(HugePages { total: 8, free: 3, page_bytes: 2 << 20 }));
        assert!(host.tun);
        assert_eq!((host.jit, host.receive_buffer_max), (Ok(1), Ok(212_992)));
        assert_eq!(host.forwarding, [Ok(true), Ok(false)]);
        assert_eq!(host.reverse_path, Some(1));
        assert_eq!(host.conntrack, Some(Conntrack { count: 12, max: 65_536 }));
        assert!(host.process.is_dataplane);
        assert_eq!(host.process.capabilities, Ok(Capabilities(0x3000)));
        assert_eq!(host.process.memlock_bytes, Ok(8_388_608));
        assert_eq!(host.process.huge_bytes, Ok(2 << 20));
    }

    #[test]
    fn an_empty_tree_says_of_everything_why_not() {
        let (_folder, files) = tree(&[("proc/self/limits", "nothing"), ("proc/self/status", "")]);
        let host = read(&files, "xlns0");
        assert!(host.kernel.is_err() && host.cpus.is_err() && host.huge_pages.is_err());
        assert!(host.jit.unwrap_err().contains("No such file"));
        assert_eq!((host.irqbalance, host.tun), (Ok(false), false));
        assert_eq!((host.reverse_path, host.conntrack), (None, None));
        assert!(!host.process.is_dataplane);
        assert!(host.process.capabilities.unwrap_err().contains("CapEff"));
        assert!(host.process.memlock_bytes.unwrap_err().contains("Max locked memory"));
    }

    #[test]
    fn a_data_plane_of_another_network_namespace_is_not_ours() {
        let (folder, files) = tree(MACHINE);
        for (id, namespace) in [("self", "net:[1]"), ("88", "net:[2]")] {
            let path = folder.path().join(format!("proc/{id}/ns"));
            std::fs::create_dir_all(&path).unwrap();
            std::os::unix::fs::symlink(namespace, path.join("net")).unwrap();
        }
        assert!(!read(&files, "xlns0").process.is_dataplane);
    }

    #[test]
    fn this_machine_is_read() {
        let host = read(&Files::below(std::path::Path::new("/")), "xlns0");
        assert!(host.kernel.unwrap() >= Version(5, 0));
        assert!(!host.cpus.unwrap().is_empty());
        assert!(host.process.capabilities.is_ok() && host.process.memlock_bytes.is_ok());
    }
}
