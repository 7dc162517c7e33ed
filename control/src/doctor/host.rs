//! The machine as a whole: kernel, memory, privileges, the kernel's own forwarding.

use super::kernel::{self, Version};
use super::machine::{Capabilities, Host, Machine, Process};
use super::{Finding, HOST};

/// What control asks for as the receive buffer of each L2TP socket, octets.
const SOCKET_BUFFER_BYTES: u64 = crate::udp::SOCKET_BUFFER_BYTES as u64;

/// Octets of a frame's memory.
const CHUNK_BYTES: u64 = 2048;

/// Connection tracking that is this full (percent) drops soon.
const CONNTRACK_FULL_PERCENT: u64 = 80;

/// All checks of the host but those of its CPUs.
pub fn examine(machine: &Machine) -> Vec<Finding> {
    let host = &machine.host;
    vec![
        running(machine),
        kernel(machine),
        jit(host),
        capabilities(&host.process),
        memlock(machine),
        huge_pages(machine),
        tun(host),
        forwarding(host),
        reverse_path(machine),
        socket_buffers(host),
        conntrack(machine),
    ]
}

fn running(machine: &Machine) -> Finding {
    const CHECK: &str = "data-plane";
    match &machine.running {
        Err(why) => Finding::note(CHECK, HOST, format!("no running xlnsd was asked: {why}"))
            .advise("start it and look again: modes and cores of workers are known only then")
            .command("systemctl start xlns-dataplane xlnsd"),
        Ok(running) if running.ports.is_empty() => {
            Finding::fail(CHECK, HOST, "xlnsd runs, and its data plane does not")
                .advise("look for what xlns-dataplane says of its ports, and start it")
                .command("journalctl -u xlns-dataplane -n 50; systemctl start xlns-dataplane")
        }
        Ok(running) => {
            let (ports, workers) = (running.ports.len(), running.cores.len());
            Finding::ok(CHECK, HOST, format!("{ports} ports and {workers} workers are up"))
        }
    }
}

fn kernel(machine: &Machine) -> Finding {
    const CHECK: &str = "kernel";
    const UPDATE: &str = "install a newer kernel";
    let version = match &machine.host.kernel {
        Ok(version) => *version,
        Err(why) => return Finding::unread(CHECK, HOST, "the kernel's version", why),
    };
    let since = |feature, first: Version| format!("Linux {version} has no {feature}: {first} has");
    if version < kernel::LEAST {
        let text = since("XDP programs that go with their process", kernel::LEAST);
        return Finding::fail(CHECK, HOST, text).advise(UPDATE);
    }
    if machine.plan.busy_poll && version < kernel::BUSY_POLL {
        let text =
            since("preferred busy polling, which dataplane.busy_poll asks for", kernel::BUSY_POLL);
        return Finding::warn(CHECK, HOST, text)
            .advise(format!("{UPDATE}, or set busy_poll = false"));
    }
    if version < kernel::TRANSMIT_BUDGET {
        let text = since(
            "transmit budget for AF_XDP: in copy mode a system call sends 32 frames",
            kernel::TRANSMIT_BUDGET,
        );
        return Finding::note(CHECK, HOST, text)
            .advise(format!("{UPDATE}, unless ports are zero-copy"));
    }
    Finding::ok(CHECK, HOST, format!("Linux {version} has all that xlns uses"))
}

fn jit(host: &Host) -> Finding {
    const CHECK: &str = "bpf-jit";
    match &host.jit {
        Ok(0) => Finding::warn(CHECK, HOST, "BPF programs are interpreted: each frame pays for it")
            .advise("have the kernel compile them")
            .command("sysctl -w net.core.bpf_jit_enable=1"),
        Ok(_) => Finding::ok(CHECK, HOST, "BPF programs are compiled"),
        // Only root may read it; kernels are built with the compiler always on.
        Err(why) => Finding::unread(CHECK, HOST, "net.core.bpf_jit_enable", why),
    }
}

/// Whose privileges these are, for a sentence.
fn who(process: &Process) -> &'static str {
    if process.is_dataplane { "xlns-dataplane" } else { "this user" }
}

fn capabilities(process: &Process) -> Finding {
    const CHECK: &str = "capabilities";
    let found = match &process.capabilities {
        Ok(found) => *found,
        Err(why) => return Finding::unread(CHECK, HOST, "capabilities", why),
    };
    let wanted = [
        ("CAP_NET_ADMIN", found.have(Capabilities::NET_ADMIN)),
        ("CAP_NET_RAW", found.have(Capabilities::NET_RAW)),
        ("CAP_BPF", found.have(Capabilities::BPF) || found.have(Capabilities::SYS_ADMIN)),
    ];
    let missing: Vec<_> =
        wanted.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, HOST, format!("{} may use AF_XDP and BPF", who(process)));
    }
    let text = format!("{} lacks {}", who(process), missing.join(", "));
    if process.is_dataplane {
        Finding::fail(CHECK, HOST, text)
            .advise("give them to it: CapabilityBoundingSet in its unit")
            .command("systemctl edit xlns-dataplane")
    } else {
        Finding::note(CHECK, HOST, text).advise("start xlns as root, or by its units")
    }
}

/// Memory of all frames of all ports, octets.
fn frame_bytes(machine: &Machine) -> Option<u64> {
    let queues: Vec<u16> =
        machine.ports.iter().map(|port| machine.queues(port)).collect::<Option<_>>()?;
    let queues: u64 = queues.into_iter().map(u64::from).sum();
    Some(queues * u64::from(machine.plan.frames_per_queue) * CHUNK_BYTES)
}

fn memlock(machine: &Machine) -> Finding {
    const CHECK: &str = "locked-memory";
    let process = &machine.host.process;
    let limit = match &process.memlock_bytes {
        Ok(limit) => *limit,
        Err(why) => return Finding::unread(CHECK, HOST, "the limit of locked memory", why),
    };
    let may_lock = process.capabilities.as_ref().is_ok_and(|found| {
        // Who may raise the limit (CAP_SYS_RESOURCE) is not looked at: the data plane does not.
        found.have(Capabilities::IPC_LOCK)
    });
    let maps_count = machine.host.kernel.as_ref().is_ok_and(|it| *it < kernel::MAPS_UNLOCKED);
    let (who, wanted) = (who(process), frame_bytes(machine));
    if limit == u64::MAX || (may_lock && !maps_count) {
        return Finding::ok(CHECK, HOST, format!("{who} may lock what memory it wants"));
    }
    let Some(wanted) = wanted else {
        return Finding::unread(CHECK, HOST, "the number of queues", "see the ports");
    };
    let text = format!(
        "{who} may lock {} MiB; the frames of all queues are {} MiB",
        limit >> 20,
        wanted.div_ceil(1 << 20)
    );
    if wanted <= limit && !maps_count {
        return Finding::ok(CHECK, HOST, text);
    }
    let finding = if process.is_dataplane {
        Finding::fail(CHECK, HOST, text)
    } else {
        Finding::note(CHECK, HOST, text)
    };
    finding
        .advise("allow it: LimitMEMLOCK=infinity in the unit, as in the one of this release")
        .command("systemctl edit xlns-dataplane")
}

fn huge_pages(machine: &Machine) -> Finding {
    const CHECK: &str = "huge-pages";
    let host = &machine.host;
    let pages = match &host.huge_pages {
        Ok(pages) => *pages,
        Err(why) => return Finding::unread(CHECK, HOST, "huge pages", why),
    };
    if host.process.is_dataplane && host.process.huge_bytes.as_ref().is_ok_and(|used| *used > 0) {
        return Finding::ok(CHECK, HOST, "the data plane's frames lie on huge pages");
    }
    let Some(bytes) = frame_bytes(machine) else {
        return Finding::unread(CHECK, HOST, "the number of queues", "see the ports");
    };
    let wanted = bytes.div_ceil(pages.page_bytes.max(1));
    if pages.free >= wanted {
        let text = format!("{} huge pages are free, {wanted} are wanted for frames", pages.free);
        if !host.process.is_dataplane {
            return Finding::ok(CHECK, HOST, text);
        }
        return Finding::warn(CHECK, HOST, format!("{text}, and the data plane runs without"))
            .advise("start it again: it takes them where they are free")
            .command("systemctl restart xlns-dataplane");
    }
    let total = pages.total - pages.free.min(pages.total) + wanted;
    let text = format!(
        "{} huge pages of {} KiB are free, {wanted} are wanted for frames",
        pages.free,
        pages.page_bytes >> 10
    );
    Finding::warn(CHECK, HOST, text)
        .advise(
            "set them aside before xlns starts: small pages cost a tenth to a quarter on memory",
        )
        .command(format!("sysctl -w vm.nr_hugepages={total}"))
}

fn tun(host: &Host) -> Finding {
    const CHECK: &str = "tun";
    if host.tun {
        return Finding::ok(CHECK, HOST, "/dev/net/tun is there");
    }
    Finding::fail(CHECK, HOST, "there is no /dev/net/tun, which packets for this host go through")
        .advise("load the module, and let a container see the device")
        .command("modprobe tun")
}

fn forwarding(host: &Host) -> Finding {
    const CHECK: &str = "ip-forward";
    let names = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
    let unread = host.forwarding.iter().zip(names).find_map(|(state, name)| {
        state.as_ref().err().map(|why| Finding::unread(CHECK, HOST, name, why))
    });
    if let Some(finding) = unread {
        return finding;
    }
    let off: Vec<_> =
        host.forwarding.iter().zip(names).filter(|(on, _)| **on == Ok(false)).collect();
    if off.is_empty() {
        return Finding::ok(CHECK, HOST, "the kernel forwards IPv4 and IPv6");
    }
    let settings: Vec<String> = off.iter().map(|(_, name)| format!("{name}=1")).collect();
    let text = format!(
        "the kernel does not forward (0: {}): subscribers do not reach what is behind interfaces \
         without an XDP port",
        off.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    );
    let finding = if off.len() == names.len() {
        Finding::warn(CHECK, HOST, text)
    } else {
        Finding::note(CHECK, HOST, text)
    };
    finding
        .advise("turn it on, unless all of the network is behind ports")
        .command(format!("sysctl -w {}", settings.join(" ")))
}

fn reverse_path(machine: &Machine) -> Finding {
    const CHECK: &str = "rp-filter";
    const STRICT: u32 = 1;
    let name = &machine.plan.tun_name;
    match machine.host.reverse_path {
        None => Finding::ok(CHECK, HOST, format!("{name} is not there yet")),
        Some(STRICT) => {
            let text =
                format!("{name} drops packets of addresses that it has no route for (strict)");
            let finding = if machine.plan.dials {
                Finding::warn(CHECK, HOST, text)
            } else {
                Finding::note(CHECK, HOST, text)
            };
            finding
                .advise("let it be loose: the data plane itself checks subscribers' sources")
                .command(format!(
                    "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=2"
                ))
        }
        Some(_) => Finding::ok(CHECK, HOST, format!("{name} takes packets of any subscriber")),
    }
}

fn socket_buffers(host: &Host) -> Finding {
    const CHECK: &str = "socket-buffers";
    let may_force = matches!(&host.process.capabilities, Ok(found)
        if found.have(Capabilities::NET_ADMIN));
    match &host.receive_buffer_max {
        Err(why) => Finding::unread(CHECK, HOST, "net.core.rmem_max", why),
        Ok(max) if *max >= SOCKET_BUFFER_BYTES => {
            Finding::ok(CHECK, HOST, "sockets of L2TP may have the buffers that they want")
        }
        Ok(_) if may_force => Finding::ok(
            CHECK,
            HOST,
            "with CAP_NET_ADMIN, sockets of L2TP have what buffers they want",
        ),
        Ok(max) => {
            let text = format!(
                "without CAP_NET_ADMIN, sockets of L2TP have {max} octets of buffer, not \
                 {SOCKET_BUFFER_BYTES}: bursts of calls are lost"
            );
            Finding::note(CHECK, HOST, text)
                .advise("let xlnsd have CAP_NET_ADMIN, as by its unit, or allow larger buffers")
                .command(format!(
                    "sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES} \
                     net.core.wmem_max={SOCKET_BUFFER_BYTES}"
                ))
        }
    }
}

fn conntrack(machine: &Machine) -> Finding {
    const CHECK: &str = "conntrack";
    let Some(conntrack) = machine.host.conntrack else {
        return Finding::ok(CHECK, HOST, "the kernel tracks no connections");
    };
    let port = machine.plan.l2tp_port;
    let text = format!("the kernel tracks {} of {} connections", conntrack.count, conntrack.max);
    let is_full =
        conntrack.count.saturating_mul(100) >= conntrack.max.saturating_mul(CONNTRACK_FULL_PERCENT);
    let finding = if is_full {
        Finding::warn(CHECK, HOST, format!("{text}: at the limit it drops packets"))
    } else {
        Finding::note(CHECK, HOST, text)
    };
    finding
        .advise("leave tunnels out of it; what workers forward does not come through it anyway")
        .command(format!(
            "nft 'add table inet xlns; \
             add chain inet xlns in {{ type filter hook prerouting priority raw; }}; \
             add chain inet xlns out {{ type filter hook output priority raw; }}; \
             add rule inet xlns in udp dport {port} notrack; \
             add rule inet xlns out udp sport {port} notrack'"
        ))
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
