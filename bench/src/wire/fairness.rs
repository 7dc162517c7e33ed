//! Whether all sessions got their share.

use serde::Serialize;

/// Of what each session was sent, how much arrived, over all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fairness {
    /// Sessions that anything was offered to.
    pub sessions_offered: u32,
    /// Sessions of those that nothing arrived for.
    pub sessions_with_nothing: u32,
    /// The share that arrived in the session that fared worst, 0 to 1.
    pub least_share: f64,
    /// The share that arrived in the one that fared best.
    pub most_share: f64,
    /// Jain's index of the shares: 1 where all are equal, 1/n where one session gets everything.
    pub jain_index: f64,
}

impl Fairness {
    /// Of packets offered and received by session.
    pub fn of(sessions: impl Iterator<Item = (u32, u32)>) -> Self {
        let (mut count, mut nothing) = (0_u32, 0);
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (offered, received) in sessions.filter(|(offered, _)| *offered > 0) {
            let share = f64::from(received) / f64::from(offered);
            count += 1;
            nothing += u32::from(received == 0);
            least = least.min(share);
            most = most.max(share);
            sum += share;
            squares += share * share;
        }
        Self {
            sessions_offered: count,
            sessions_with_nothing: nothing,
            least_share: if count == 0 { 0.0 } else { least },
            most_share: most,
            // Where nobody gets anything, all get the same.
            jain_index: if squares > 0.0 { sum * sum / (f64::from(count) * squares) } else { 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sessions: &[(u32, u32)]) -> Fairness {
        Fairness::of(sessions.iter().copied())
    }

    #[test]
    fn equal_shares_are_fair_whatever_was_offered() {
        let fairness = of(&[(100, 50), (10, 5), (2, 1), (0, 0)]);
        assert_eq!((fairness.sessions_offered, fairness.sessions_with_nothing), (3, 0));
        assert_eq!((fairness.least_share, fairness.most_share), (0.5, 0.5));
        assert!((fairness.jain_index - 1.0).abs() < 1e-12);
    }

    #[test]
    fn one_that_gets_all_is_unfair() {
        let fairness = of(&[(10, 10), (10, 0), (10, 0), (10, 0)]);
        assert_eq!((fairness.sessions_with_nothing, fairness.jain_index), (3, 0.25));
        assert_eq!((fairness.least_share, fairness.most_share), (0.0, 1.0));
        // 1, 0.5: (1.5)^2 / (2 * 1.25).
        assert!((of(&[(2, 2), (2, 1)]).jain_index - 0.9).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_no_division_by_zero() {
        let nothing = of(&[]);
        assert_eq!((nothing.least_share, nothing.most_share, nothing.jain_index), (0.0, 0.0, 1.0));
        assert_eq!(of(&[(5, 0)]).jain_index, 1.0);
    }
}
