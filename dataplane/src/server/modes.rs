//! Which attach mode each port gets: the best that works, and why not a better one.
//!
//! One UMEM is shared by all sockets, and the kernel binds every socket after the first one in the
//! first one's mode: zero-copy is for all ports or for none. Native or generic is a matter of each
//! port alone.

use crate::api::AttachMode;

/// Where the steering program is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// In the driver.
    Native,
    /// Above the driver.
    Generic,
}

/// What is done to ports; the real one talks to the kernel.
pub trait Driver {
    /// Attaches the steering program of a port.
    ///
    /// # Errors
    /// The reason, for the operator.
    fn attach(&mut self, port: usize, hook: Hook) -> Result<(), String>;

    /// Takes it off again.
    fn detach(&mut self, port: usize);

    /// Binds the sockets of all ports anew, those of before are gone.
    ///
    /// # Errors
    /// The port that failed and the reason, for the operator.
    fn bind_all(&mut self, zero_copy: bool) -> Result<(), (usize, String)>;
}

/// The mode that a port got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// The mode.
    pub mode: AttachMode,
    /// Each better mode and why not.
    pub not_better: Vec<(AttachMode, String)>,
}

/// Attaches and binds all ports, each in the best mode that works and is not better than `wanted`.
///
/// # Errors
/// The port for which nothing worked and the reasons.
pub fn choose(
    names: &[&str],
    wanted: &[AttachMode],
    driver: &mut impl Driver,
) -> Result<Vec<Obtained>, (usize, String)> {
    let mut ports = Vec::with_capacity(wanted.len());
    for (port, wanted) in wanted.iter().enumerate() {
        ports.push(attach(port, *wanted, driver)?);
    }
    if zero_copy(names, wanted, &mut ports, driver) {
        for port in &mut ports {
            port.mode = AttachMode::NativeZeroCopy;
        }
        return Ok(ports);
    }
    loop {
        let Err((failed, reason)) = driver.bind_all(false) else { return Ok(ports) };
        let Some(port) = ports.get_mut(failed).filter(|port| port.mode == AttachMode::NativeCopy)
        else {
            return Err((failed, reason));
        };
        port.not_better.push((AttachMode::NativeCopy, reason));
        port.mode = AttachMode::Generic;
        driver.detach(failed);
        driver.attach(failed, Hook::Generic).map_err(|reason| (failed, reason))?;
    }
}

fn attach(
    port: usize,
    wanted: AttachMode,
    driver: &mut impl Driver,
) -> Result<Obtained, (usize, String)> {
    let mut not_better = Vec::new();
    if wanted != AttachMode::Generic {
        match driver.attach(port, Hook::Native) {
            Ok(()) => return Ok(Obtained { mode: AttachMode::NativeCopy, not_better }),
            Err(reason) => {
                if wanted == AttachMode::NativeZeroCopy {
                    not_better.push((AttachMode::NativeZeroCopy, reason.clone()));
                }
                not_better.push((AttachMode::NativeCopy, reason));
            }
        }
    }
    driver.attach(port, Hook::Generic).map_err(|reason| (port, reason))?;
    Ok(Obtained { mode: AttachMode::Generic, not_better })
}

/// Tries zero-copy on all ports. Where it fails, notes why for every port that wanted it.
fn zero_copy(
    names: &[&str],
    wanted: &[AttachMode],
    ports: &mut [Obtained],
    driver: &mut impl Driver,
) -> bool {
    let wants = |port: usize| wanted.get(port) == Some(&AttachMode::NativeZeroCopy);
    let obstacle = (0..ports.len())
        .find(|port| !wants(*port) || ports.get(*port).is_none_or(is_generic))
        .map(|port| {
            let reason =
                if wants(port) { "is attached above its driver" } else { "is configured not to" };
            (port, reason.to_owned())
        });
    let obstacle = match obstacle {
        None => match driver.bind_all(true) {
            Ok(()) => return true,
            Err((port, reason)) => (port, reason),
        },
        Some(obstacle) => obstacle,
    };
    let (culprit, reason) = obstacle;
    let name = names.get(culprit).copied().unwrap_or("?");
    for (index, port) in ports.iter_mut().enumerate() {
        if !wants(index) || is_generic(port) {
            continue;
        }
        let text = if index == culprit {
            reason.clone()
        } else {
            format!("zero-copy is for all ports or none, they share frames: {name} {reason}")
        };
        port.not_better.push((AttachMode::NativeZeroCopy, text));
    }
    false
}

fn is_generic(port: &Obtained) -> bool {
    port.mode == AttachMode::Generic
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttachMode::{Generic, NativeCopy, NativeZeroCopy};

    /// Ports that can do some things and not others.
    #[derive(Default)]
    struct Nics {
        /// No native hook.
        no_native: Vec<usize>,
        /// No hook at all.
        no_hook: Vec<usize>,
        /// Binding with zero-copy fails.
        no_zero_copy: Option<usize>,
        /// Binding with copies fails while the hook is native.
        no_native_copy: Option<usize>,
        attached: Vec<(usize, Hook)>,
        bound: Option<bool>,
    }

    impl Driver for Nics {
        fn attach(&mut self, port: usize, hook: Hook) -> Result<(), String> {
            let refused = self.no_hook.contains(&port)
                || (hook == Hook::Native && self.no_native.contains(&port));
            if refused {
                return Err(format!("no {hook:?} hook"));
            }
            self.attached.push((port, hook));
            Ok(())
        }

        fn detach(&mut self, port: usize) {
            self.attached.retain(|(attached, _)| *attached != port);
        }

        fn bind_all(&mut self, zero_copy: bool) -> Result<(), (usize, String)> {
            self.bound = None;
            if let Some(port) = self.no_zero_copy.filter(|_| zero_copy) {
                return Err((port, "does not support it".into()));
            }
            let native = |port: &usize| self.attached.contains(&(*port, Hook::Native));
            if let Some(port) = self.no_native_copy.filter(native) {
                return Err((port, "no copying".into()));
            }
            self.bound = Some(zero_copy);
            Ok(())
        }
    }

    const NAMES: [&str; 2] = ["a", "b"];

    fn modes(ports: &[Obtained]) -> Vec<AttachMode> {
        ports.iter().map(|port| port.mode).collect()
    }

    #[test]
    fn all_ports_share_frames_with_their_nics_where_all_can() {
        let mut nics = Nics::default();
        let ports = choose(&NAMES, &[NativeZeroCopy; 2], &mut nics).unwrap();
        assert_eq!(modes(&ports), [NativeZeroCopy; 2]);
        assert!(ports.iter().all(|port| port.not_better.is_empty()));
        assert_eq!(nics.bound, Some(true));
    }

    #[test]
    fn one_port_without_zero_copy_makes_all_copy_and_says_so() {
        let mut nics = Nics { no_zero_copy: Some(1), ..Nics::default() };
        let ports = choose(&NAMES, &[NativeZeroCopy; 2], &mut nics).unwrap();
        assert_eq!(modes(&ports), [NativeCopy; 2]);
        assert_eq!(nics.bound, Some(false));
        assert_eq!(ports[1].not_better, [(NativeZeroCopy, "does not support it".into())]);
        assert!(ports[0].not_better[0].1.ends_with("they share frames: b does not support it"));
    }

    #[test]
    fn a_port_without_a_native_hook_is_generic_and_the_others_copy() {
        let mut nics = Nics { no_native: vec![0], ..Nics::default() };
        let ports = choose(&NAMES, &[NativeZeroCopy; 2], &mut nics).unwrap();
        assert_eq!(modes(&ports), [Generic, NativeCopy]);
        let reasons: Vec<_> = ports[0].not_better.iter().map(|(mode, _)| *mode).collect();
        assert_eq!(reasons, [NativeZeroCopy, NativeCopy]);
        assert!(ports[1].not_better[0].1.contains("a is attached above its driver"));
    }

    #[test]
    fn nothing_better_than_wanted_is_tried() {
        let mut nics = Nics::default();
        let ports = choose(&NAMES, &[NativeCopy, Generic], &mut nics).unwrap();
        assert_eq!(modes(&ports), [NativeCopy, Generic]);
        assert!(ports.iter().all(|port| port.not_better.is_empty()));
        let ports = choose(&NAMES, &[NativeZeroCopy, NativeCopy], &mut nics).unwrap();
        assert!(ports[0].not_better[0].1.contains("b is configured not to"));
        assert!(ports[1].not_better.is_empty());
    }

    #[test]
    fn a_port_that_cannot_bind_natively_is_tried_above_its_driver() {
        let mut nics = Nics { no_native_copy: Some(1), ..Nics::default() };
        let ports = choose(&NAMES, &[NativeCopy; 2], &mut nics).unwrap();
        assert_eq!(modes(&ports), [NativeCopy, Generic]);
        assert_eq!(ports[1].not_better, [(NativeCopy, "no copying".into())]);
        assert_eq!(nics.attached, [(0, Hook::Native), (1, Hook::Generic)]);
        assert_eq!(nics.bound, Some(false));
    }

    #[test]
    fn a_port_for_which_nothing_works_is_named() {
        let mut nics = Nics { no_hook: vec![1], ..Nics::default() };
        let error = choose(&NAMES, &[NativeZeroCopy; 2], &mut nics).unwrap_err();
        assert_eq!(error, (1, "no Generic hook".into()));
    }
}
