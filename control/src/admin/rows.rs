//! Rows made of what the data plane reports.

use xlns_dataplane::api::{Counters, PortStatus};
use xlns_dataplane::counters::{PortCounters, WorkerCounters};
use xlns_dataplane::verdict::DropReason;

use super::protocol::{CounterRow, PortRow, WorkerRow};

impl PortRow {
    /// A NIC.
    pub fn of_port(status: &PortStatus, counters: &PortCounters) -> Self {
        let mac: Vec<String> = status.mac.iter().map(|octet| format!("{octet:02x}")).collect();
        let not_better = status
            .not_better
            .iter()
            .map(|(mode, reason)| format!("{}: {reason}", mode.name()))
            .collect();
        Self {
            interface: status.interface.clone(),
            mac: mac.join(":"),
            mtu: status.mtu,
            queues: status.queues,
            mode: status.mode.name().to_owned(),
            not_better,
            ..Self::counted(counters)
        }
    }

    /// The TUN device, with a queue for each worker.
    pub fn of_host(mtu: u16, queues: u16, counters: &PortCounters) -> Self {
        Self { mtu, queues, mode: "tun".to_owned(), ..Self::counted(counters) }
    }

    fn counted(counters: &PortCounters) -> Self {
        Self {
            interface: counters.interface.clone(),
            mac: String::new(),
            mtu: 0,
            queues: 0,
            mode: String::new(),
            not_better: Vec::new(),
            troubles: counters.troubles.clone(),
            received_packets: counters.received_packets,
            received_bytes: counters.received_bytes,
            transmitted_packets: counters.transmitted_packets,
            transmitted_bytes: counters.transmitted_bytes,
            kernel_dropped: counters.kernel_dropped,
        }
    }
}

impl WorkerRow {
    /// The worker with this number, from 0.
    pub fn of_worker(worker: u16, counters: &WorkerCounters) -> Self {
        Self {
            worker,
            core: counters.core,
            received: counters.received,
            originated: counters.originated,
            transmitted: counters.transmitted,
            dropped: counters.dropped,
            joined: counters.joined,
            measured: counters.measured,
            waiting: counters.waiting,
            handed_out: counters.handed_out,
            handed_in: counters.handed_in,
            batches: counters.batches,
            load_permille: counters.load_permille,
            frames_free: counters.frames_free,
        }
    }
}

impl CounterRow {
    /// A counter of the groups that control keeps.
    pub fn new(group: &str, name: &str, value: u64, explanation: &str) -> Self {
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
            value,
            explanation: explanation.to_owned(),
        }
    }

    /// The groups `drop`, `steer INTERFACE` and `table`. `interfaces` are the ports in the order of
    /// the configuration.
    pub fn of_dataplane(counters: &Counters, interfaces: &[&str]) -> Vec<Self> {
        let mut rows: Vec<Self> = DropReason::ALL
            .iter()
            .zip(&counters.drops.0)
            .map(|(reason, count)| Self::new("drop", reason.name(), *count, reason.explanation()))
            .collect();
        for (port, interface) in interfaces.iter().enumerate() {
            let group = format!("steer {interface}");
            rows.extend(counters.steer.iter().filter_map(|counter| {
                let packets = *counter.packets.get(port)?;
                Some(Self::new(&group, &counter.name, packets, &counter.explanation))
            }));
        }
        let tables = [
            ("sessions", counters.sessions, "Entries in the session table."),
            ("routes", counters.routes, "Entries in the route tables."),
            ("neighbors", counters.neighbors, "Next hops known."),
        ];
        rows.extend(
            tables.map(|(name, count, text)| Self::new("table", name, u64::from(count), text)),
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xlns_dataplane::api::{AttachMode, SteerCounter};

    #[test]
    fn a_port_says_why_it_is_not_better() {
        let status = PortStatus {
            interface: "eth0".into(),
            interface_index: 7,
            mac: [2, 0, 0, 0xab, 0, 1],
            mtu: 1500,
            queues: 2,
            mode: AttachMode::NativeCopy,
            not_better: vec![(AttachMode::NativeZeroCopy, "the driver has none".into())],
        };
        let counters = PortCounters {
            interface: "eth0".into(),
            received_packets: 5,
            kernel_dropped: 1,
            ..PortCounters::default()
        };
        let row = PortRow::of_port(&status, &counters);
        assert_eq!(row.mac, "02:00:00:ab:00:01");
        assert_eq!(row.mode, "native-copy");
        assert_eq!(row.not_better, ["native-zero-copy: the driver has none"]);
        assert_eq!((row.received_packets, row.kernel_dropped, row.mtu), (5, 1, 1500));
        let host = PortRow::of_host(1460, 2, &counters);
        assert_eq!((host.mode.as_str(), host.mtu, host.queues), ("tun", 1460, 2));
    }

    #[test]
    fn the_data_planes_counters_become_groups() {
        let mut counters = Counters { sessions: 3, ..Counters::default() };
        counters.drops.0[DropReason::NoRoute as usize] = 9;
        counters.steer = vec![SteerCounter {
            name: "xsk_core".into(),
            explanation: "Transit on a port marked core.".into(),
            packets: vec![4, 5],
        }];
        let rows = CounterRow::of_dataplane(&counters, &["eth0", "eth1"]);
        assert_eq!(rows.len(), DropReason::COUNT + 2 + 3);
        let find = |group: &str, name: &str| {
            rows.iter().find(|row| row.group == group && row.name == name).unwrap()
        };
        assert_eq!(find("drop", "no_route").value, 9);
        let steer = find("steer eth1", "xsk_core");
        assert_eq!((steer.value, &*steer.explanation), (5, "Transit on a port marked core."));
        assert_eq!(find("table", "sessions").value, 3);
    }
}
