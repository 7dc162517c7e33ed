use super::super::Level::{Fail, Note, Ok as Good, Warn};
use super::super::machine::RunningPort;
use super::super::sound::{find, machine};
use super::*;
use crate::netlink::Features;

fn after(check: &str, change: impl Fn(&mut Machine)) -> (Level, String) {
    let mut machine = machine();
    change(&mut machine);
    find(&machine, check, "eth0")
}

fn linked(change: impl Fn(&mut Interface)) -> (Level, String) {
    after("interface", |machine| change(machine.ports[0].link.as_mut().unwrap()))
}

#[test]
fn an_interface_is_up_and_ethernet() {
    assert_eq!(linked(|_| {}).0, Good);
    assert_eq!(linked(|link| link.ethernet = false).0, Fail);
    let (level, text) = linked(|link| link.up = false);
    assert!(level == Warn && text.contains("ip link set dev eth0 up"), "{text}");
    assert_eq!(linked(|link| link.carrier = false).0, Warn);
    let (level, text) = linked(|link| link.kind = "vlan".to_owned());
    assert!(level == Warn && text.contains("key vlan"), "{text}");
}

#[test]
fn drivers_are_known_from_a_kernel_on() {
    let with = |driver: &'static str, kernel| {
        move |machine: &mut Machine| {
            machine.ports[0].driver = Ok(driver.to_owned());
            machine.host.kernel = Ok(kernel);
        }
    };
    let cases = [
        ("igb", Version(6, 14), Good),
        ("igb", Version(6, 13), Warn),
        ("igb", Version(5, 9), Warn),
        ("mlx5_core", Version(5, 3), Good),
        ("virtio_net", Version(6, 11), Good),
        ("virtio_net", Version(6, 10), Warn),
        ("gve", Version(6, 3), Warn),
        ("veth", Version(6, 18), Note),
        ("veth", Version(4, 18), Warn),
        ("bond", Version(6, 18), Note),
        ("ne2k-pci", Version(6, 18), Note),
    ];
    for (driver, kernel, expected) in cases {
        let (level, text) = after("driver", with(driver, kernel));
        assert_eq!(level, expected, "{driver} on {kernel}: {text}");
        assert!(text.contains(driver), "{text}");
    }
    let (_, text) = after("driver", with("virtio_net", Version(6, 18)));
    assert!(text.contains("iommu_platform=on"), "{text}");
}

#[test]
fn the_table_has_each_driver_once() {
    for (index, driver) in DRIVERS.iter().enumerate() {
        assert!(DRIVERS.iter().skip(index + 1).all(|other| other.name != driver.name));
        if let (Some(native), Some(zero_copy)) = (driver.native, driver.zero_copy) {
            assert!(native <= zero_copy, "{}", driver.name);
        }
    }
}

#[test]
fn the_mode_is_the_best_or_it_is_said_why_not() {
    let runs = |mode: &'static str, why: &'static [&'static str], driver: &'static str| {
        move |machine: &mut Machine| {
            machine.running.as_mut().unwrap().ports[0] = RunningPort {
                interface: "eth0".to_owned(),
                mode: mode.to_owned(),
                not_better: why.iter().map(|why| (*why).to_owned()).collect(),
            };
            machine.ports[0].driver = Ok(driver.to_owned());
        }
    };
    assert_eq!(after("mode", |_| {}).0, Good);
    assert_eq!(after("mode", runs("native-copy", &[], "mlx5_core")).0, Good, "as configured");
    let why = &["native-zero-copy: it says EINVAL"];
    let (level, text) = after("mode", runs("native-copy", why, "mlx5_core"));
    assert!(level == Warn && text.contains("EINVAL"), "{text}");
    assert_eq!(after("mode", runs("native-copy", why, "veth")).0, Note);
    assert_eq!(after("mode", runs("generic", why, "veth")).0, Warn);
    let (level, _) = after("mode", |machine| machine.running = Err(String::new()));
    assert_eq!(level, Note);
}

#[test]
fn a_program_of_somebody_else_fails() {
    let (level, _) = after("xdp-program", |_| {});
    assert_eq!(level, Good);
    let stranger = |machine: &mut Machine| {
        machine.running = Err(String::new());
        machine.host.process.is_dataplane = false;
    };
    let (level, text) = after("xdp-program", stranger);
    assert!(level == Fail && text.contains("ip link set dev eth0 xdp off"), "{text}");
    let (level, _) = after("xdp-program", |machine| machine.running = Err(String::new()));
    assert_eq!(level, Note, "a data plane runs that could not be asked");
    let (level, _) = after("xdp-program", |machine| {
        machine.ports[0].link.as_mut().unwrap().xdp_program = None;
    });
    assert_eq!(level, Fail, "the running data plane's own is gone");
    let (level, _) = after("xdp-program", |machine| {
        stranger(machine);
        machine.ports[0].link.as_mut().unwrap().xdp_program = None;
    });
    assert_eq!(level, Good);
}

#[test]
fn the_other_end_of_a_veth_completes_checksums() {
    let sends = |features: &[&str]| {
        let on = features.iter().map(|name| (*name).to_owned()).collect();
        let features = Ok(Features { on, ..Features::default() });
        Some(Peer::Here { name: "v1".to_owned(), features })
    };
    let after =
        |peer: Option<Peer>| after("veth-peer", |machine| machine.ports[0].peer.clone_from(&peer));
    assert_eq!(after(sends(&["rx-checksum"])).0, Good);
    let (level, text) = after(sends(&["tx-checksum-ip-generic"]));
    assert!(level == Warn && text.contains("ethtool -K v1 tx off"), "{text}");
    let (level, text) = after(Some(Peer::Elsewhere));
    assert!(level == Note && text.contains("ip netns exec"), "{text}");
    let unread = Peer::Here { name: "v1".to_owned(), features: Err("Permission denied".into()) };
    assert_eq!(after(Some(unread)).0, Note);
}
