//! The device behind an interface: its driver, node and interrupts, from `/sys` and `/proc`.

use std::collections::BTreeMap;

use super::super::machine::{Interrupt, Reading};
use super::files::Files;

/// Where an interface's device is; one on a bus of its own (virtio) has the real one above it.
fn folders(interface: &str) -> [String; 2] {
    let device = format!("sys/class/net/{interface}/device");
    [device.clone(), format!("{device}/..")]
}

/// The name of the driver; none where there is no device.
pub(super) fn driver(files: &Files, interface: &str) -> Option<Reading<String>> {
    let [device, _] = folders(interface);
    files.path(&device).exists().then(|| files.link_name(&format!("{device}/driver")))
}

/// The NUMA node; none where the machine has no nodes, or the device no place among them.
pub(super) fn numa_node(files: &Files, interface: &str) -> Option<u16> {
    folders(interface).iter().find_map(|folder| files.value(&format!("{folder}/numa_node")).ok())
}

/// Interrupts of its receive queues.
pub(super) fn interrupts(files: &Files, interface: &str) -> Reading<Vec<Interrupt>> {
    let numbers = folders(interface)
        .iter()
        .find_map(|folder| files.numbers(&format!("{folder}/msi_irqs"), "").ok());
    let Some(numbers) = numbers else { return Ok(Vec::new()) };
    let names = names(&files.read("proc/interrupts")?);
    let interrupt = |number: u32| {
        let queue = queue_of(names.get(&number)?)?;
        // The kernel chooses among those allowed; what it chose is where the load is.
        let chosen = files.cpus(&format!("proc/irq/{number}/effective_affinity_list"));
        let cpus = match chosen {
            Ok(cpus) if !cpus.is_empty() => cpus,
            _ => files.cpus(&format!("proc/irq/{number}/smp_affinity_list")).ok()?,
        };
        Some(Interrupt { number, queue, cpus })
    };
    Ok(numbers.into_iter().filter_map(interrupt).collect())
}

/// The last word of each interrupt: what its driver calls it.
fn names(text: &str) -> BTreeMap<u32, String> {
    let name = |line: &str| {
        let (number, rest) = line.trim_start().split_once(':')?;
        Some((number.parse().ok()?, rest.split_whitespace().next_back()?.to_owned()))
    };
    text.lines().filter_map(name).collect()
}

/// The receive queue that an interrupt of this name is for: `eth0-TxRx-3`, `virtio2-input.3`,
/// `mlx5_comp3@pci:0000:01:00.0`.
fn queue_of(name: &str) -> Option<u16> {
    const COMPLETION: &str = "mlx5_comp";
    let name = name.split('@').next()?;
    if let Some(number) = name.strip_prefix(COMPLETION) {
        return number.parse().ok();
    }
    let (kind, number) = name.rsplit_once(['-', '.'])?;
    let kind = kind.to_ascii_lowercase();
    let receives = ["rx", "input", "block"].iter().any(|word| kind.ends_with(word))
        || kind.ends_with("rxtx")
        || kind.ends_with("tx-rx");
    if receives { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::tree;
    use super::*;
    use std::os::unix::fs::symlink;

    const INTERRUPTS: &str = "           CPU0       CPU1\n \
        38:          0       4518 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0\n \
        39:       3473          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0\n \
        40:       3473          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-input.1\n\
        NMI:          0          0   Non-maskable interrupts\n";

    #[test]
    fn names_say_the_queue() {
        let cases = [
            ("eth0-TxRx-3", Some(3)),
            ("i40e-eth0-TxRx-12", Some(12)),
            ("ens5-Tx-Rx-0", Some(0)),
            ("eth0-rx-2", Some(2)),
            ("virtio2-input.1", Some(1)),
            ("mlx5_comp7@pci:0000:01:00.0", Some(7)),
            ("virtio2-output.1", None),
            ("eth0-tx-2", None),
            ("virtio2-config", None),
            ("mlx5_async0@pci:0000:01:00.0", None),
            ("eth0", None),
            ("eth0-TxRx-65536", None),
            ("", None),
        ];
        for (name, queue) in cases {
            assert_eq!(queue_of(name), queue, "{name}");
        }
    }

    #[test]
    fn a_device_on_virtio_has_its_interrupts_above_it() {
        let (folder, files) = tree(&[
            ("sys/pci0/virtio2/features", ""),
            ("sys/pci0/numa_node", "1\n"),
            ("sys/pci0/msi_irqs/38", "msix"),
            ("sys/pci0/msi_irqs/39", "msix"),
            ("sys/pci0/msi_irqs/40", "msix"),
            ("sys/drivers/virtio_net/bind", ""),
            ("sys/class/net/eth0/mtu", "1500"),
            ("sys/class/net/v0/mtu", "1500"),
            ("proc/interrupts", INTERRUPTS),
            ("proc/irq/38/effective_affinity_list", "1\n"),
            ("proc/irq/40/effective_affinity_list", "\n"),
            ("proc/irq/40/smp_affinity_list", "0-1\n"),
        ]);
        let root = folder.path();
        symlink(root.join("sys/pci0/virtio2"), root.join("sys/class/net/eth0/device")).unwrap();
        symlink("../../drivers/virtio_net", root.join("sys/pci0/virtio2/driver")).unwrap();
        assert_eq!(driver(&files, "eth0"), Some(Ok("virtio_net".to_owned())));
        assert_eq!(numa_node(&files, "eth0"), Some(1));
        let interrupts_expected = [
            Interrupt { number: 38, queue: 0, cpus: vec![1] },
            Interrupt { number: 40, queue: 1, cpus: vec![0, 1] },
        ];
        assert_eq!(interrupts(&files, "eth0").unwrap(), interrupts_expected);
        assert_eq!((driver(&files, "v0"), numa_node(&files, "v0")), (None, None));
        assert_eq!(interrupts(&files, "v0"), Ok(Vec::new()));
    }

    #[test]
    fn a_device_without_a_node_has_none() {
        let (_folder, files) = tree(&[("sys/class/net/eth0/device/numa_node", "-1\n")]);
        assert_eq!(numa_node(&files, "eth0"), None);
        assert!(driver(&files, "eth0").unwrap().is_err(), "bound to no driver");
    }
}
