//! What has become of a port since it came up: changes that workers and drivers do not follow.

use std::io;

use crate::api::{AttachMode, PortStatus};
use crate::port::interface::MTU_MAX;
use crate::port::xsk::kernel::Link;

/// What is wrong with a port that came up as `status`, by its interface as it is now, and the number
/// of its queues that send nothing. Each with what to do.
pub fn of_port(status: &PortStatus, link: &io::Result<Link>, stalled: u32) -> Vec<String> {
    let name = &status.interface;
    let link = match link {
        Ok(link) => link,
        Err(error) => {
            return vec![format!(
                "{name} cannot be read: {error}: restart xlns-dataplane once it is there again"
            )];
        }
    };
    let mut troubles = Vec::new();
    if !link.up {
        troubles.push(format!("{name} is down: ip link set dev {name} up"));
    } else if stalled > 0 {
        troubles.push(stall(status, stalled));
    }
    if link.mtu > MTU_MAX.into() {
        // Drivers let a bound queue be given an MTU whose frames do not fit into its chunks.
        troubles.push(format!(
            "its MTU was raised to {}: frames beyond {MTU_MAX} octets are lost: \
             ip link set dev {name} mtu {}",
            link.mtu, status.mtu
        ));
    } else if link.mtu != status.mtu.into() {
        troubles.push(format!(
            "its MTU is {} now, workers go by {}: restart xlns-dataplane, or: \
             ip link set dev {name} mtu {}",
            link.mtu, status.mtu, status.mtu
        ));
    }
    if link.ethernet && link.mac != status.mac {
        troubles.push("its MAC address was changed: restart xlns-dataplane".to_owned());
    }
    troubles
}

fn stall(status: &PortStatus, stalled: u32) -> String {
    let advice = match status.mode {
        AttachMode::NativeZeroCopy => {
            ": is there a carrier? Else its driver does not get along with zero-copy: \
             mode = \"native-copy\""
        }
        AttachMode::NativeCopy | AttachMode::Generic => ": is there a carrier?",
    };
    format!("{stalled} of {} queues send nothing{advice}", status.queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> PortStatus {
        PortStatus {
            interface: "eth0".to_owned(),
            interface_index: 7,
            mac: [2; 6],
            mtu: 1500,
            queues: 2,
            mode: AttachMode::NativeZeroCopy,
            not_better: Vec::new(),
        }
    }

    fn troubles(mtu: u32, up: bool, mac: [u8; 6], stalled: u32) -> Vec<String> {
        of_port(&status(), &Ok(Link { mac, mtu, up, ethernet: true }), stalled)
    }

    #[test]
    fn a_port_as_it_came_up_has_none() {
        assert_eq!(troubles(1500, true, [2; 6], 0), [""; 0]);
    }

    #[test]
    fn an_mtu_that_was_changed_is_told_and_what_no_longer_fits() {
        assert!(troubles(1400, true, [2; 6], 0)[0].contains("is 1400 now, workers go by 1500"));
        assert!(troubles(1766, true, [2; 6], 0)[0].contains("is 1766 now"));
        let raised = troubles(1767, true, [2; 6], 0);
        assert!(raised[0].contains("raised to 1767: frames beyond 1766 octets are lost"));
        assert!(raised[0].ends_with("ip link set dev eth0 mtu 1500"));
    }

    #[test]
    fn queues_that_send_nothing_are_told_where_the_link_is_up() {
        assert!(troubles(1500, true, [2; 6], 1)[0].starts_with("1 of 2 queues send nothing"));
        let down = troubles(1500, false, [2; 6], 2);
        assert_eq!(down, ["eth0 is down: ip link set dev eth0 up"]);
    }

    #[test]
    fn another_mac_address_and_no_interface_are_told() {
        assert!(troubles(1500, true, [4; 6], 0)[0].contains("MAC address was changed"));
        let gone = of_port(&status(), &Err(io::ErrorKind::NotFound.into()), 2);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].contains("eth0 cannot be read"));
    }
}
