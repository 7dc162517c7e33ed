//! A report for people: what was tested, the rates as bars, each trial as a row, and what overload did.

use std::fmt::{self, Display, Formatter};

use xlns_dataplane::api::AttachMode;

use super::holder::Control;
use super::progress::name;
use super::report::{Finding, Overload, Report, SizeReport};
use super::trial::{Trial, Way};

/// Characters of the longest bar.
const BAR_MAX: f64 = 40.0;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (owner, ports) in [("tester", &self.ports), ("LNS", &self.lns_ports)] {
            for port in ports {
                let why = match port.not_better.as_slice() {
                    [] => String::new(),
                    reasons => format!(" (not {})", reasons.join("; not ")),
                };
                let of = if port.driver.is_empty() { "" } else { " of " };
                writeln!(
                    f,
                    "{owner} {}: {} queues{of}{}, {}{why}",
                    port.interface, port.queues, port.driver, port.xdp_mode
                )?;
            }
        }
        let lns = self.lns_core.map(|core| format!(", LNS on core {core}")).unwrap_or_default();
        writeln!(
            f,
            "{}: {} sessions in {} tunnels ({:.0} calls a second, set-up {:.1} ms at the median, {:.1} the \
             slowest); tester on core {:?}, LACs on core {}{lns}{}; trials of {} s",
            self.target,
            self.sessions,
            self.tunnels,
            self.set_up.calls_per_second,
            self.set_up.setup_ms_p50,
            self.set_up.setup_ms_max,
            self.generator_cores,
            self.lac_core,
            if self.realtime { ", real-time priority" } else { "" },
            self.trial_seconds
        )?;
        for size in &self.sizes {
            writeln!(f)?;
            size.write(f, self.loss_percent_max)?;
        }
        if !self.sizes.iter().any(SizeReport::has_generator_bound) {
            return Ok(());
        }
        writeln!(f, "\n* within a tenth of what the generator can do: the LNS may do more.")?;
        if self.ports.iter().any(|port| port.xdp_mode != AttachMode::NativeZeroCopy.name()) {
            writeln!(
                f,
                "Without zero-copy the kernel copies each packet on the sender's core, and on veth that \
                 core does the receiving port's work as well."
            )?;
        }
        Ok(())
    }
}

impl SizeReport {
    fn has_generator_bound(&self) -> bool {
        self.trials.iter().any(Trial::is_generator_bound)
    }

    fn write(&self, f: &mut Formatter<'_>, loss_percent_max: f64) -> fmt::Result {
        let title = match self.size.as_str() {
            "64" => "Ethernet frames of 64 octets (inner packets of 46)".to_owned(),
            "imix" => {
                format!("IMIX, inner packets of {:.0} octets on average", self.inner_octets_mean)
            }
            size => format!("inner packets of {size} octets"),
        };
        writeln!(f, "{title}")?;
        let mut bars = Vec::new();
        if let Some(ceiling) = &self.ceiling {
            bars.push(("generator to XDP_DROP".to_owned(), ceiling.sender_pps.median, false));
            bars.push(("tester without an LNS".to_owned(), ceiling.through_pps.median, false));
        }
        let found = self.finding.as_ref().and_then(|finding| finding.trial.as_ref());
        let shown: Vec<(&str, &Trial)> = match found {
            Some(trial) => vec![("no-drop", trial)],
            None => self.trials.iter().map(|trial| (name(trial.purpose), trial)).collect(),
        };
        for (what, trial) in shown {
            for way in &trial.directions {
                let wanted = match (trial.wanted_pps, found) {
                    (Some(rate), None) => format!(" {rate:.0}/s"),
                    _ => String::new(),
                };
                let label = format!("{what}{wanted}, {}", way.direction);
                bars.push((label, way.received_pps, way.generator_bound));
            }
        }
        write_bars(f, &bars)?;
        writeln!(f)?;
        write_rows(f, &self.trials, self.finding.as_ref())?;
        match &self.finding {
            Some(finding) => finding.write(f, loss_percent_max),
            None => self.trials.last().map_or(Ok(()), |trial| write_control(f, &trial.control)),
        }
    }
}

fn write_bars(f: &mut Formatter<'_>, bars: &[(String, f64, bool)]) -> fmt::Result {
    let most = bars.iter().map(|(_, pps, _)| *pps).fold(1.0, f64::max);
    for (label, pps, bound) in bars {
        let length = (pps / most * BAR_MAX).round() as usize;
        writeln!(
            f,
            "  {label:<28}{:<41}{:>7.3} Mpps{}",
            "█".repeat(length.max(1)),
            pps / 1e6,
            if *bound { " *" } else { "" }
        )?;
    }
    Ok(())
}

fn write_rows(f: &mut Formatter<'_>, trials: &[Trial], finding: Option<&Finding>) -> fmt::Result {
    writeln!(
        f,
        "  {:<11}{:<4}{:>11}{:>11}{:>9}{:>10}{:>8}{:>7}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}  {:<16}",
        "trial",
        "way",
        "offered/s",
        "through/s",
        "Mbit/s",
        "lost",
        "reorder",
        "twice",
        "spoilt",
        "p50 us",
        "p90",
        "p99",
        "p99.9",
        "max",
        "least-most Jain"
    )?;
    let overload = finding.and_then(|finding| finding.overload.as_ref());
    for trial in trials.iter().chain(overload.map(|overload| &overload.trial)) {
        for way in &trial.directions {
            write_row(f, name(trial.purpose), way)?;
        }
    }
    Ok(())
}

fn write_row(f: &mut Formatter<'_>, what: &str, way: &Way) -> fmt::Result {
    let us = |nanoseconds: u64| format!("{:.0}", nanoseconds as f64 / 1000.0);
    let lost = match way.lost {
        0 => "0".to_owned(),
        _ => format!("{:.3}%", way.loss_percent),
    };
    let fairness = &way.fairness;
    writeln!(
        f,
        "  {what:<11}{:<4}{:>11.0}{:>11.0}{:>9.0}{lost:>10}{:>8}{:>7}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}  \
         {:.2}-{:.2} {:.4}{}",
        way.direction,
        way.offered_pps,
        way.received_pps,
        way.received_inner_bits_per_second / 1e6,
        way.reordered,
        way.duplicated,
        way.corrupted + way.misdelivered,
        us(way.latency.p50_ns),
        us(way.latency.p90_ns),
        us(way.latency.p99_ns),
        us(way.latency.p99_9_ns),
        us(way.latency.max_ns),
        fairness.least_share,
        fairness.most_share,
        fairness.jain_index,
        if way.generator_bound { " *" } else { "" }
    )?;
    if let Some(filler) = way.filler {
        writeln!(
            f,
            "{:15}beside these the kernel made {:.0}/s that only fill the LNS: {:.0}/s got through",
            "", filler.offered_pps, filler.received_pps
        )?;
    }
    let tester = way.lost_at_tester.unwrap_or(0);
    if tester > 0 {
        writeln!(f, "{:15}{tester} of the lost arrived and were lost in the tester itself", "")?;
    }
    let link = way.lost_at_link.unwrap_or(0);
    if link > 0 {
        writeln!(f, "{:15}{link} of the lost did not leave: the LNS does not empty its ring", "")?;
    }
    if fairness.sessions_with_nothing > 0 {
        let count = fairness.sessions_with_nothing;
        writeln!(
            f,
            "{:15}nothing arrived in {count} of {} sessions",
            "", fairness.sessions_offered
        )?;
    }
    Ok(())
}

impl Finding {
    fn write(&self, f: &mut Formatter<'_>, loss_percent_max: f64) -> fmt::Result {
        match self.no_drop_pps {
            Some(pps) => writeln!(
                f,
                "  no-drop rate (loss of {loss_percent_max} % at most): {:.3} Mpps of each direction{}",
                pps / 1e6,
                if self.generator_bound {
                    ": the generator's end, the LNS may do more"
                } else {
                    ""
                }
            )?,
            None => writeln!(
                f,
                "  no rate that was tried lost {loss_percent_max} % or less: more --seconds, an idle \
                 machine, or a bound (--loss 0.1)"
            )?,
        }
        self.overload.as_ref().map_or(Ok(()), |overload| overload.write(f))
    }
}

impl Overload {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  overload: {:.2} times the no-drop rate was offered{}; {:.2} times of what passed there got \
             through",
            self.offered_times,
            if self.offered_times < 1.8 { " (the generator's end)" } else { "" },
            self.through_times
        )?;
        write_control(f, &self.trial.control)?;
        for (reason, count) in self.trial.lns_drops.iter().flatten() {
            writeln!(f, "    the LNS counted {count}: {reason}")?;
        }
        Ok(())
    }
}

fn write_control(f: &mut Formatter<'_>, control: &Control) -> fmt::Result {
    let Control { sessions_up, sessions_lost, tunnels_up, .. } = control;
    let sessions = match sessions_lost {
        0 => format!("all {sessions_up} sessions stayed up"),
        lost => format!("{lost} sessions were lost, {sessions_up} are up"),
    };
    let hellos = match (control.hellos_unanswered, control.retransmissions) {
        (0, 0) => "all acknowledged at once".to_owned(),
        (0, again) => format!("all acknowledged, {again} sent again before"),
        (left, again) => format!("{left} tunnels still wait, {again} messages sent again"),
    };
    writeln!(
        f,
        "  meanwhile {sessions} in {tunnels_up} tunnels; {} HELLOs: {hellos}; LCP echoes: {} of {} answered",
        control.hellos_sent, control.echoes_answered, control.echoes_sent
    )
}
