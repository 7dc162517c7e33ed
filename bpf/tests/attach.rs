//! Attaching to a veth pair in a namespace of its own.

mod stage;

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use stage::*;
use xlns_bpf::{Mode, Reason, Steer, SteerConfig, SteerError};

/// Set in the process that a test starts to be killed: the namespace to work in.
const CHILD: &str = "XLNS_BPF_TEST_NAMESPACE";

/// A namespace with a veth pair `near` and `far`; goes with this value.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(test: &str) -> Self {
        require_root();
        let namespace = Self { name: format!("xlns-bpf-{}-{test}", std::process::id()) };
        run(&["ip", "netns", "add", &namespace.name]);
        namespace.ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
        for end in ["near", "far"] {
            namespace.ip(&["link", "set", end, "up"]);
        }
        namespace.enter();
        namespace
    }

    /// Moves this thread there.
    fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        setns(file, CloneFlags::CLONE_NEWNET).expect("enters");
    }

    fn ip(&self, arguments: &[&str]) -> String {
        run(&[&["ip", "-n", &self.name], arguments].concat())
    }

    /// The XDP program of `near`, as ip names its mode.
    fn attached(&self) -> Option<&'static str> {
        let shown = self.ip(&["-o", "link", "show", "dev", "near"]);
        ["xdpgeneric", "xdp"].into_iter().find(|word| {
            shown.split_whitespace().any(|shown| shown.split('/').next() == Some(*word))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A program for `near` of the namespace that this thread is in.
fn load_near() -> Steer {
    let ifindex = nix::net::if_::if_nametoindex("near").expect("near");
    let ports = vec![port("near", ifindex, false)];
    Steer::load(&SteerConfig { l2tp_port: L2TP_PORT, l2tp_port_count: 1, ports, rates: UNLIMITED })
        .expect("loads")
}

#[test]
fn attaches_in_either_mode_and_detaches() {
    let namespace = Namespace::new("modes");
    let mut steer = load_near();
    assert_eq!(namespace.attached(), None);
    for (mode, word) in [(Mode::Native, "xdp"), (Mode::Generic, "xdpgeneric")] {
        steer.attach(0, mode).expect("attaches");
        assert_eq!(namespace.attached(), Some(word));
        assert_eq!(steer.mode(0), Some(mode));
        let error = steer.attach(0, mode).expect_err("is attached");
        assert!(matches!(error, SteerError::Attached { .. }), "{error}");
        steer.detach(0).expect("detaches");
        steer.detach(0).expect("detaches again");
        assert_eq!(steer.mode(0), None);
        assert_eq!(namespace.attached(), None);
    }
}

#[test]
fn goes_with_its_handle() {
    let namespace = Namespace::new("handle");
    for mode in [Mode::Native, Mode::Generic] {
        let mut steer = load_near();
        steer.attach(0, mode).expect("attaches");
        assert!(namespace.attached().is_some());
        drop(steer);
        assert_eq!(namespace.attached(), None);
    }
}

#[test]
fn goes_with_a_process_that_is_killed() {
    const NAME: &str = "goes_with_a_process_that_is_killed";
    if std::env::var_os(CHILD).is_some() {
        for mode in [Mode::Native, Mode::Generic] {
            // Drops nothing: the last one is still attached when the process aborts.
            let mut steer = load_near();
            steer.attach(0, mode).expect("attaches");
            if mode == Mode::Generic {
                println!("attached {}", run(&["ip", "-o", "link", "show", "dev", "near"]));
                std::process::abort();
            }
        }
    }
    let namespace = Namespace::new("killed");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, &namespace.name)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("attached") && said.contains("xdpgeneric"), "{said}");
    assert!(!output.status.success());
    assert_eq!(namespace.attached(), None);
}

#[test]
fn another_program_or_no_interface_is_explained() {
    let namespace = Namespace::new("errors");
    let mut first = load_near();
    first.attach(0, Mode::Native).expect("attaches");
    for mode in [Mode::Native, Mode::Generic] {
        let error = load_near().attach(0, mode).expect_err("taken").to_string();
        assert!(error.contains("interface near"), "{error}");
        assert!(error.contains("ip link set dev near xdp off"), "{error}");
    }
    let ports = vec![port("gone", 9999, false)];
    let config = SteerConfig { l2tp_port: L2TP_PORT, l2tp_port_count: 1, ports, rates: UNLIMITED };
    let mut steer = Steer::load(&config).expect("loads");
    let error = steer.attach(0, Mode::Generic).expect_err("no such interface").to_string();
    assert!(error.contains("interface gone") && error.contains("network namespace"), "{error}");
    assert_eq!(namespace.attached(), Some("xdp"), "the first is untouched");
}

#[test]
fn native_mode_is_refused_where_the_driver_has_none() {
    let namespace = Namespace::new("native");
    namespace.ip(&["link", "set", "lo", "up"]);
    let ports = vec![port("lo", 1, false)];
    let config = SteerConfig { l2tp_port: L2TP_PORT, l2tp_port_count: 1, ports, rates: UNLIMITED };
    let mut steer = Steer::load(&config).expect("loads");
    let error = steer.attach(0, Mode::Native).expect_err("lo has no native XDP").to_string();
    assert!(error.contains("native mode") && error.contains("generic mode works"), "{error}");
    steer.attach(0, Mode::Generic).expect("generic works");
    assert_eq!(steer.mode(0), Some(Mode::Generic));
}

#[test]
fn sees_the_frames_of_the_wire() {
    for mode in [Mode::Native, Mode::Generic] {
        let namespace = Namespace::new("wire");
        let mut steer = load_near();
        steer.attach(0, mode).expect("attaches");
        namespace.ip(&["addr", "add", "192.0.2.2/24", "dev", "far"]);
        // Asks for an address that nobody has: ARP requests, broadcast.
        let socket = std::net::UdpSocket::bind("192.0.2.2:0").expect("binds");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let mut frames = 0;
        for _ in 0..100 {
            let _ = socket.send_to(&[0], "192.0.2.77:9");
            let _ = socket.recv(&mut [0]);
            frames = steer.counters(0).iter().map(|(_, frames)| frames).sum();
            if frames > 0 {
                break;
            }
        }
        assert!(frames > 0, "{mode:?}");
        assert!(count(&steer, 0, Reason::PassNotUnicast) >= frames, "ARP and IPv6 multicast");
    }
}
