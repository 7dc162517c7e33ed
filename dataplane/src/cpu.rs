//! Cores: which ones workers may use, and pinning.

use core_affinity::CoreId;

/// The cores that this thread may run on, in ascending order; empty where the kernel does not say.
pub fn allowed() -> Vec<u16> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().filter_map(|core| u16::try_from(core.id).ok()).collect()
}

/// CPUs that the machine has running, whether this process may use them or not.
pub fn online() -> usize {
    let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let count = count.ok().flatten().and_then(|count| usize::try_from(count).ok());
    count.unwrap_or(1).max(1)
}

/// The core of each of `workers` workers: those configured, in order, else the allowed ones. Where
/// there are more workers than cores, they share them.
pub fn assign(configured: &[u16], allowed: &[u16], workers: usize) -> Vec<Option<u16>> {
    let cores = if configured.is_empty() { allowed } else { configured };
    (0..workers).map(|worker| cores.get(worker % cores.len().max(1)).copied()).collect()
}

/// Cores are numbered below this (CPU_SETSIZE of Linux).
const CORES_MAX: u16 = 1024;

/// Pins this thread to a core, also to one that it may not run on so far: the kernel gives isolated
/// ones (`isolcpus`) to nobody who does not ask. Returns whether it worked; a thread that is not
/// pinned works as well, only less evenly.
pub fn pin(core: u16) -> bool {
    core < CORES_MAX && core_affinity::set_for_current(CoreId { id: core.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_cores_come_before_allowed_ones() {
        assert_eq!(assign(&[5, 3], &[0, 1], 2), [Some(5), Some(3)]);
        assert_eq!(assign(&[], &[0, 1], 2), [Some(0), Some(1)]);
    }

    #[test]
    fn as_many_cpus_run_as_this_process_may_use_at_least() {
        assert!(online() >= allowed().len());
    }

    #[test]
    fn workers_beyond_the_cores_share_them() {
        assert_eq!(assign(&[], &[0, 1], 3), [Some(0), Some(1), Some(0)]);
        assert_eq!(assign(&[], &[], 2), [None, None]);
    }

    #[test]
    fn a_core_that_the_thread_was_kept_from_is_pinned_to() {
        let allowed = allowed();
        let (first, last) = (allowed[0], *allowed.last().unwrap());
        std::thread::spawn(move || {
            assert!(pin(first) && pin(last));
            assert_eq!(super::allowed(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_core_that_exists_is_pinned_to_and_another_is_not() {
        let allowed = allowed();
        let last = *allowed.last().unwrap();
        std::thread::spawn(move || {
            assert!(pin(last));
            assert_eq!(super::allowed(), [last]);
        })
        .join()
        .unwrap();
        assert!(!pin(CORES_MAX - 1), "no machine of ours has so many");
        assert!(!pin(u16::MAX));
    }
}
