//! What a worker looks at in which turn: not everything each time, as some of it is a system call.

/// Empty turns before a worker sleeps: what comes at once is met awake. More of them cost more than
/// the sleep where packets come in bursts, as they do from most NICs.
pub(super) const IDLE_TURNS: u32 = 8;

/// One that never sleeps looks beyond the rings once in so many empty turns.
const AROUND_IDLE_TURNS: u32 = 32;

/// A busy worker looks at the host's queue once in so many turns, and at what it sent before: the
/// host's packets are few, and asking is a system call.
const AROUND_TURNS: u32 = 4;

/// What a turn looks at; each more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// The rings.
    Rings,
    /// What may have been missed of them, and the clock.
    Around,
    /// The host's queue: a system call, even where nothing is there.
    Host,
}

impl Look {
    /// What a worker whose last `idle` turns were empty looks at in its turn number `turns`: beyond the
    /// rings now and then while it is busy, and before it sleeps. One that never sleeps goes on now
    /// and then; that the host has something ends the sleep of another one.
    pub(super) fn of_turn(idle: u32, turns: u32, busy_poll: bool) -> Self {
        match idle {
            0 if turns.is_multiple_of(AROUND_TURNS) => Look::Host,
            0 => Look::Rings,
            _ if busy_poll && idle.is_multiple_of(AROUND_IDLE_TURNS) => Look::Host,
            _ if !busy_poll && idle + 1 >= IDLE_TURNS => Look::Around,
            _ => Look::Rings,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_looks_around_before_it_sleeps() {
        let looks = |idle: u32| Look::of_turn(idle, 1, false);
        let beyond: Vec<u32> = (1..IDLE_TURNS).filter(|idle| looks(*idle) > Look::Rings).collect();
        assert_eq!(beyond, [IDLE_TURNS - 1]);
        assert_eq!(looks(IDLE_TURNS - 1), Look::Around, "poll looks at the host");
        let busy =
            (0..4 * AROUND_TURNS).filter(|turns| Look::of_turn(0, *turns, false) == Look::Host);
        assert_eq!(busy.count(), 4, "a busy one");
        let endless =
            (1..=10 * AROUND_IDLE_TURNS).filter(|idle| Look::of_turn(*idle, 1, true) == Look::Host);
        assert_eq!(endless.count(), 10, "one that never sleeps goes on");
    }
}
