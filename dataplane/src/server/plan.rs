//! What a configuration comes to: checked values, numbers of workers, sizes of rings.

use crate::api::{Configuration, PORTS_MAX, WORKERS_MAX};
use crate::port::xsk::RingSizes;

/// The fewest frames of a queue: some batches on the way in and out.
pub const FRAMES_PER_QUEUE_MIN: u32 = 512;

/// The most frames of a queue: 128 MiB of memory each.
pub const FRAMES_PER_QUEUE_MAX: u32 = 65_536;

/// The largest ring, cells: what is beyond it is delay, no more throughput.
const RING_CELLS_MAX: u32 = 4096;

/// The smallest MTU of the TUN device: what IPv6 asks of a link.
const TUN_MTU_MIN: u16 = 1280;

/// The longest name of an interface, octets.
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// VLANs (IEEE 802.1Q): 0 is none, 4095 is reserved.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// Checks what can be checked without the kernel.
///
/// # Errors
/// What is wrong and the range.
pub fn check(configuration: &Configuration) -> Result<(), String> {
    let ports = configuration.ports.len();
    if ports == 0 || ports > PORTS_MAX {
        return Err(format!("{ports} ports: 1 to {PORTS_MAX} can be"));
    }
    if usize::from(configuration.workers) > WORKERS_MAX {
        return Err(format!("{} workers: at most {WORKERS_MAX} can be", configuration.workers));
    }
    let frames = configuration.frames_per_queue;
    if !(FRAMES_PER_QUEUE_MIN..=FRAMES_PER_QUEUE_MAX).contains(&frames) {
        return Err(format!(
            "{frames} frames per queue: {FRAMES_PER_QUEUE_MIN} to {FRAMES_PER_QUEUE_MAX} can be"
        ));
    }
    if configuration.tun_mtu < TUN_MTU_MIN
        || configuration.tun_mtu > crate::port::interface::MTU_MAX
    {
        return Err(format!(
            "MTU {} of {}: {TUN_MTU_MIN} to {} can be",
            configuration.tun_mtu,
            configuration.tun_name,
            crate::port::interface::MTU_MAX
        ));
    }
    for port in &configuration.ports {
        if let Some(vlan) = port.vlan.filter(|vlan| !VLANS.contains(vlan)) {
            return Err(format!("VLAN {vlan} of {}: 1 to 4094 can be", port.interface));
        }
    }
    let mut names: Vec<&str> =
        configuration.ports.iter().map(|port| port.interface.as_str()).collect();
    names.push(&configuration.tun_name);
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > INTERFACE_NAME_BYTES_MAX {
            return Err(format!("{name:?} cannot be the name of an interface"));
        }
        if names.iter().skip(index + 1).any(|other| other == name) {
            return Err(format!("interface {name} is named twice"));
        }
    }
    Ok(())
}

/// Queues of a port to use: `configured`, or all where that is 0.
///
/// # Errors
/// What to do, where the port has fewer.
pub fn queues(name: &str, configured: u16, available: u16) -> Result<u16, String> {
    match configured {
        0 => Ok(available),
        _ if configured > available => Err(format!(
            "interface {name} has {available} queues, {configured} are configured: \
             set queues = {available}, or: ethtool -L {name} combined {configured}"
        )),
        _ => Ok(configured),
    }
}

/// Checks that zero-copy can be had on so many queues: a driver has a transmit queue for each CPU, and
/// one beyond them takes frames and never sends them.
///
/// # Errors
/// What to do, where there are more queues than CPUs.
pub fn zero_copy_queues(name: &str, queues: u16, cpus: usize) -> Result<(), String> {
    if usize::from(queues) <= cpus {
        return Ok(());
    }
    Err(format!(
        "{queues} queues are more than the {cpus} CPUs, those beyond them would send nothing: \
         ethtool -L {name} combined {cpus}"
    ))
}

/// Number of workers: `configured`, or where that is 0 one per queue of the port with the fewest,
/// but not more than cores. A worker needs a queue of its own on every port, to send by.
///
/// # Errors
/// What to do, where a port has too few queues.
pub fn workers(configured: u16, ports: &[(&str, u16)], cores: usize) -> Result<usize, String> {
    let fewest = ports.iter().min_by_key(|(_, queues)| *queues);
    let Some((name, fewest)) = fewest.map(|(name, queues)| (*name, *queues)) else {
        return Err("no port".into());
    };
    if configured == 0 {
        return Ok(usize::from(fewest).min(cores.max(1)).clamp(1, WORKERS_MAX));
    }
    if configured > fewest {
        return Err(format!(
            "{configured} workers are configured, but interface {name} has {fewest} queues and a \
             worker needs one on every port: set workers = {fewest}, or: \
             ethtool -L {name} combined {configured}"
        ));
    }
    Ok(configured.into())
}

/// Ring sizes for a queue: half of its frames wait to be received into, half are on their way out.
pub fn ring_sizes(frames_per_queue: u32) -> RingSizes {
    let half = (frames_per_queue / 2).max(1);
    let cells = (1 << half.ilog2()).min(RING_CELLS_MAX);
    RingSizes { receive: cells, transmit: cells, fill: cells }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AttachMode, ControlRates, PortConfiguration};

    fn configuration() -> Configuration {
        let port = |interface: &str| PortConfiguration {
            interface: interface.into(),
            queues: 0,
            core: false,
            mode: AttachMode::NativeZeroCopy,
            vlan: None,
        };
        Configuration {
            ports: vec![port("eth0"), port("eth1")],
            workers: 0,
            cores: Vec::new(),
            frames_per_queue: 4096,
            sessions_max: 10,
            routes_max: 10,
            tun_name: "xlns0".into(),
            tun_mtu: 1500,
            busy_poll: false,
            handoff: crate::api::Handoff::Auto,
            l2tp_port: 1701,
            l2tp_port_count: 1,
            gateway: None,
            gateway_ipv6: None,
            quality: None,
            control_rates: ControlRates {
                setup_packets_per_second: 1,
                tunnel_packets_per_second: 1,
                ppp_packets_per_second: 1,
                burst_packets: 1,
            },
        }
    }

    fn refused(change: impl Fn(&mut Configuration)) -> String {
        let mut configuration = configuration();
        change(&mut configuration);
        check(&configuration).unwrap_err()
    }

    #[test]
    fn a_sound_configuration_passes() {
        check(&configuration()).unwrap();
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        assert!(refused(|c| c.ports.clear()).contains("1 to 16"));
        assert!(refused(|c| c.ports = vec![c.ports[0].clone(); 17]).contains("17 ports"));
        assert!(refused(|c| c.workers = 65).contains("at most 64"));
        assert!(refused(|c| c.frames_per_queue = 511).contains("512 to"));
        assert!(refused(|c| c.frames_per_queue = 65_537).contains("65536"));
        assert!(refused(|c| c.tun_mtu = 1279).contains("1280 to 1766"));
        assert!(refused(|c| c.tun_mtu = 1767).contains("1280 to 1766"));
        assert!(refused(|c| c.tun_name = "sixteen-octets-x".into()).contains("cannot be"));
        assert!(refused(|c| c.ports[1].interface = "eth0".into()).contains("twice"));
        assert!(refused(|c| c.tun_name = "eth1".into()).contains("twice"));
    }

    #[test]
    fn queues_are_those_configured_or_all() {
        assert_eq!(queues("eth0", 0, 4), Ok(4));
        assert_eq!(queues("eth0", 4, 4), Ok(4));
        assert!(queues("eth0", 5, 4).unwrap_err().contains("ethtool -L eth0 combined 5"));
    }

    #[test]
    fn zero_copy_has_a_cpu_for_each_queue() {
        assert_eq!(zero_copy_queues("eth0", 4, 4), Ok(()));
        let error = zero_copy_queues("eth0", 5, 4).unwrap_err();
        assert!(error.ends_with("ethtool -L eth0 combined 4"), "{error}");
    }

    #[test]
    fn a_worker_has_a_queue_on_every_port_and_a_core() {
        let ports = [("eth0", 4), ("eth1", 2)];
        assert_eq!(workers(0, &ports, 8), Ok(2));
        assert_eq!(workers(0, &ports, 1), Ok(1));
        assert_eq!(workers(0, &ports, 0), Ok(1));
        assert_eq!(workers(2, &ports, 1), Ok(2));
        assert!(workers(3, &ports, 8).unwrap_err().contains("eth1 has 2 queues"));
        assert!(workers(0, &[], 8).is_err());
    }

    #[test]
    fn rings_are_powers_of_two_and_hold_half_of_the_frames() {
        let cells = |frames| ring_sizes(frames).fill;
        assert_eq!(cells(512), 256);
        assert_eq!(cells(4096), 2048);
        assert_eq!(cells(5000), 2048);
        assert_eq!(cells(8191), 2048);
        assert_eq!(cells(8192), 4096);
        assert_eq!(cells(65_536), 4096);
    }
}
