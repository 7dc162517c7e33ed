use super::super::Level::{self, Fail, Note, Ok as Good, Warn};
use super::super::machine::{Conntrack, HugePages};
use super::super::sound::{find, machine};
use super::*;

fn after(check: &str, change: impl Fn(&mut Machine)) -> (Level, String) {
    let mut machine = machine();
    change(&mut machine);
    find(&machine, check, HOST)
}

#[test]
fn the_data_plane_runs_or_it_is_said() {
    assert_eq!(after("data-plane", |_| {}).0, Good);
    let (level, text) = after("data-plane", |machine| machine.running = Err("nobody".to_owned()));
    assert!(level == Note && text.contains("systemctl start"), "{text}");
    let (level, text) = after("data-plane", |machine| {
        machine.running.as_mut().unwrap().ports.clear();
    });
    assert!(level == Fail && text.contains("journalctl -u xlns-dataplane"), "{text}");
}

#[test]
fn a_kernel_has_what_is_used() {
    let of = |version| move |machine: &mut Machine| machine.host.kernel = Ok(version);
    assert_eq!(after("kernel", of(Version(6, 17))).0, Good);
    let (level, text) = after("kernel", of(Version(6, 16)));
    assert!(level == Note && text.contains("6.17 has"), "{text}");
    assert_eq!(after("kernel", of(Version(5, 9))).0, Note);
    let (level, text) = after("kernel", of(Version(5, 8)));
    assert!(level == Fail && text.contains("5.9 has"), "{text}");
    let polls = |version| {
        move |machine: &mut Machine| {
            machine.plan.busy_poll = true;
            machine.host.kernel = Ok(version);
        }
    };
    assert_eq!(after("kernel", polls(Version(5, 10))).0, Warn);
    assert_eq!(after("kernel", polls(Version(6, 18))).0, Good);
}

#[test]
fn bpf_is_compiled() {
    let (level, text) = after("bpf-jit", |machine| machine.host.jit = Ok(0));
    assert!(level == Warn && text.contains("bpf_jit_enable=1"), "{text}");
    assert_eq!(after("bpf-jit", |machine| machine.host.jit = Ok(2)).0, Good);
}

#[test]
fn capabilities_are_there() {
    let without = |capability: u32, is_dataplane| {
        move |machine: &mut Machine| {
            let process = &mut machine.host.process;
            process.capabilities = Ok(Capabilities(!(1 << capability)));
            process.is_dataplane = is_dataplane;
        }
    };
    for (capability, name) in
        [(Capabilities::NET_ADMIN, "CAP_NET_ADMIN"), (Capabilities::NET_RAW, "CAP_NET_RAW")]
    {
        let (level, text) = after("capabilities", without(capability, true));
        assert!(level == Fail && text.contains(name), "{text}");
        let (level, text) = after("capabilities", without(capability, false));
        assert!(level == Note && text.contains(name), "{text}");
    }
    let (level, _) = after("capabilities", without(Capabilities::BPF, true));
    assert_eq!(level, Good, "CAP_SYS_ADMIN has it, too");
    let (level, text) = after("capabilities", |machine| {
        let few = 1 << Capabilities::NET_ADMIN | 1 << Capabilities::NET_RAW;
        machine.host.process.capabilities = Ok(Capabilities(few));
    });
    assert!(level == Fail && text.contains("lacks CAP_BPF"), "{text}");
}

#[test]
fn memory_may_be_locked_to_the_octet() {
    // Two ports of 4 queues of 4096 frames of 2048 octets.
    const WANTED: u64 = 2 * 4 * 4096 * 2048;
    let limited = |limit: u64, capabilities: u64| {
        move |machine: &mut Machine| {
            let process = &mut machine.host.process;
            process.memlock_bytes = Ok(limit);
            process.capabilities = Ok(Capabilities(capabilities));
        }
    };
    assert_eq!(after("locked-memory", limited(WANTED, 0)).0, Good);
    let (level, text) = after("locked-memory", limited(WANTED - 1, 0));
    assert!(level == Fail && text.contains("63 MiB") && text.contains("64 MiB"), "{text}");
    let may = 1 << Capabilities::IPC_LOCK;
    assert_eq!(after("locked-memory", limited(1, may)).0, Good);
    let (level, _) = after("locked-memory", |machine| {
        limited(1, may)(machine);
        machine.host.kernel = Ok(Version(5, 10));
    });
    assert_eq!(level, Fail, "maps count there, and the capability is not for them");
    let (level, _) = after("locked-memory", |machine| {
        limited(1, 0)(machine);
        machine.host.process.is_dataplane = false;
    });
    assert_eq!(level, Note);
}

#[test]
fn huge_pages_are_in_use_or_free() {
    // 64 MiB of frames: 32 pages.
    let free = |free: u64, is_dataplane: bool| {
        move |machine: &mut Machine| {
            machine.host.huge_pages = Ok(HugePages { total: 40, free, page_bytes: 2 << 20 });
            machine.host.process.huge_bytes = Ok(0);
            machine.host.process.is_dataplane = is_dataplane;
        }
    };
    assert_eq!(after("huge-pages", |_| {}).0, Good);
    assert_eq!(after("huge-pages", free(32, false)).0, Good);
    let (level, text) = after("huge-pages", free(31, false));
    assert!(level == Warn && text.contains("vm.nr_hugepages=41"), "9 in use, 32 more: {text}");
    let (level, text) = after("huge-pages", free(32, true));
    assert!(level == Warn && text.contains("restart xlns-dataplane"), "{text}");
}

#[test]
fn the_tun_device_is_there() {
    assert_eq!(after("tun", |_| {}).0, Good);
    let (level, text) = after("tun", |machine| machine.host.tun = false);
    assert!(level == Fail && text.contains("modprobe tun"), "{text}");
}

#[test]
fn the_kernel_forwards() {
    let set = |v4, v6| move |machine: &mut Machine| machine.host.forwarding = [Ok(v4), Ok(v6)];
    assert_eq!(after("ip-forward", set(true, true)).0, Good);
    let (level, text) = after("ip-forward", set(false, false));
    assert!(level == Warn && text.contains("ip_forward=1 net.ipv6"), "{text}");
    let (level, text) = after("ip-forward", set(true, false));
    assert!(level == Note && text.ends_with("net.ipv6.conf.all.forwarding=1"), "{text}");
}

#[test]
fn strict_reverse_paths_are_said() {
    let set = |value, dials| {
        move |machine: &mut Machine| {
            machine.host.reverse_path = value;
            machine.plan.dials = dials;
        }
    };
    assert_eq!(after("rp-filter", set(None, true)).0, Good);
    assert_eq!(after("rp-filter", set(Some(2), true)).0, Good);
    assert_eq!(after("rp-filter", set(Some(1), false)).0, Note);
    let (level, text) = after("rp-filter", set(Some(1), true));
    assert!(level == Warn && text.contains("conf.xlns0.rp_filter=2"), "{text}");
}

#[test]
fn sockets_have_their_buffers() {
    let set = |max, capabilities| {
        move |machine: &mut Machine| {
            machine.host.receive_buffer_max = Ok(max);
            machine.host.process.capabilities = Ok(Capabilities(capabilities));
        }
    };
    assert_eq!(after("socket-buffers", set(8 << 20, 0)).0, Good);
    assert_eq!(after("socket-buffers", set(1, 1 << Capabilities::NET_ADMIN)).0, Good);
    let (level, text) = after("socket-buffers", set((8 << 20) - 1, 0));
    assert!(level == Note && text.contains("rmem_max=8388608"), "{text}");
}

#[test]
fn connection_tracking_is_said_and_warned_of_when_full() {
    let set = |count| {
        move |machine: &mut Machine| machine.host.conntrack = Some(Conntrack { count, max: 1000 })
    };
    assert_eq!(after("conntrack", |_| {}).0, Good);
    let (level, text) = after("conntrack", set(799));
    assert!(level == Note && text.contains("udp dport 1701 notrack"), "{text}");
    assert_eq!(after("conntrack", set(800)).0, Warn);
}
