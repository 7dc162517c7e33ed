//! `xlns show quality`.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use xlns_control::admin::{
    ClassRow, Client, QualityFilter, QualityRow, QualityScope, QualitySummaryRow, Request,
    Response, Rows,
};

use crate::output::{Failure, JsonArray};
use crate::table::{self, Column, Table, number, text};

const SESSIONS: &[Column] = &[
    text("USER"),
    text("ADDRESS"),
    text("LAC"),
    number("TUNNEL"),
    number("SESSION"),
    number("SENT"),
    number("LOST"),
    number("LOSS"),
    number("MIN"),
    number("MEDIAN"),
    number("99%"),
    number("MAX"),
    number("JITTER"),
    text("SILENT"),
];

const SUMMARIES: &[Column] = &[
    text("LAC"),
    number("SESSIONS"),
    number("SILENT"),
    number("LOSSY"),
    number("LOSS"),
    number("MEDIAN"),
    number("90%"),
    number("99%"),
    number("WORST"),
];

/// The longest bar of a histogram, characters.
const BAR_MAX: u64 = 50;

/// What the command line asks for.
pub struct Wanted {
    pub filter: QualityFilter,
    /// How many of the worst; `None`: all.
    pub worst: Option<u16>,
    /// The summaries alone.
    pub summary: bool,
}

/// Prints the quality of sessions.
pub fn show(wanted: &Wanted, socket: &Path, json: bool) -> Result<(), Failure> {
    let scope = match (wanted.summary, wanted.worst) {
        (true, _) => QualityScope::Worst(0),
        (false, Some(worst)) => QualityScope::Worst(worst),
        (false, None) => QualityScope::All,
    };
    let mut client = Client::connect(socket)?;
    let rows = client.ask(&Request::ShowQuality { filter: wanted.filter.clone(), scope })?;
    let mut output = BufWriter::new(io::stdout().lock());
    if json && scope == QualityScope::All {
        return stream_json(rows, output);
    }
    let (mut sessions, mut summaries) = (Vec::new(), Vec::new());
    for row in rows {
        match row? {
            Response::Quality(row) => sessions.push(*row),
            Response::QualitySummary(row) => summaries.push(row),
            _ => {}
        }
    }
    if scope == QualityScope::All {
        sessions.sort_by_cached_key(badness);
    }
    if json {
        let array = JsonArray::new(&mut output)?;
        return match wanted.summary {
            true => print_json(array, &summaries),
            false => print_json(array, &sessions),
        };
    }
    if wanted.summary {
        print_summaries(&mut output, &summaries)?;
    } else if let ([session], true) = (sessions.as_slice(), wanted.is_for_one()) {
        print_session(&mut output, session)?;
    } else {
        print_sessions(&mut output, &sessions, summaries.first())?;
    }
    Ok(output.flush()?)
}

/// A million rows need no memory.
fn stream_json(rows: Rows<'_>, output: impl Write) -> Result<(), Failure> {
    let mut rows = rows.peekable();
    if let Some(Err(_)) = rows.peek() {
        // Nothing on the output: half an array would be no JSON.
        rows.next().transpose()?;
    }
    let mut array = JsonArray::new(output)?;
    for row in rows {
        if let Response::Quality(row) = row? {
            array.push(&row)?;
        }
    }
    Ok(array.finish()?)
}

impl Wanted {
    /// Whether somebody asks for one subscriber.
    fn is_for_one(&self) -> bool {
        self.filter.user.is_some() || self.filter.address.is_some()
    }
}

fn print_json<W: Write>(
    mut array: JsonArray<W>,
    rows: &[impl serde::Serialize],
) -> Result<(), Failure> {
    for row in rows {
        array.push(row)?;
    }
    Ok(array.finish()?)
}

/// Ascending: the worst first, as the control process has it.
fn badness(row: &QualityRow) -> impl Ord + use<> {
    let loss = (u64::from(row.recent_lost) * 10_000).checked_div(row.recent.into()).unwrap_or(0);
    std::cmp::Reverse((loss, row.p99_us.unwrap_or(0)))
}

/// The worst sessions, then how all are.
fn print_sessions(
    mut output: impl Write,
    sessions: &[QualityRow],
    total: Option<&QualitySummaryRow>,
) -> Result<(), Failure> {
    let mut table = Table::new(&mut output, SESSIONS);
    for row in sessions {
        table.push(session_cells(row))?;
    }
    table.finish("no session is monitored")?;
    if let Some(total) = total.filter(|total| total.sessions > 0) {
        writeln!(output)?;
        print_total(output, total)?;
    }
    Ok(())
}

fn session_cells(row: &QualityRow) -> Vec<String> {
    vec![
        row.user.clone(),
        row.address.map(|address| address.to_string()).unwrap_or_default(),
        row.lac.clone(),
        row.tunnel_id.to_string(),
        row.session_id.to_string(),
        table::count(row.sent.into()),
        table::count(row.lost.into()),
        percent(row.recent_lost.into(), row.recent.into()),
        latency(row.min_us),
        latency(row.median_us),
        latency(row.p99_us),
        latency(row.max_us),
        latency(row.jitter_us),
        silence(row),
    ]
}

/// Whole seconds; empty where it answers.
fn silence(row: &QualityRow) -> String {
    if row.silent_ms == 0 { String::new() } else { table::age(row.silent_ms / 1000) }
}

/// One subscriber, at length.
fn print_session(mut output: impl Write, row: &QualityRow) -> Result<(), Failure> {
    let cells = session_cells(row);
    let mut table = Table::new(&mut output, SESSIONS);
    table.push(cells)?;
    table.finish("")?;
    writeln!(output)?;
    let loss = percent(row.recent_lost.into(), row.recent.into());
    match (row.silent_ms, row.recent) {
        (0, 0) => writeln!(output, "Nothing is known yet: the first requests are under way.")?,
        (0, recent) => writeln!(
            output,
            "Of the last {recent} requests {} are lost ({loss}); since the session began, {} of {}.",
            row.recent_lost, row.lost, row.sent
        )?,
        _ => writeln!(
            output,
            "It does not answer, for {} at least: the line is down, or the router is off.",
            silence(row)
        )?,
    }
    if row.recent_untimed > 0 {
        writeln!(
            output,
            "{} replies came without our data: how long they took is not known.",
            row.recent_untimed
        )?;
    }
    if row.latencies.is_empty() {
        return Ok(());
    }
    writeln!(output, "\nRecent latencies:")?;
    Ok(print_classes(output, &row.latencies)?)
}

fn print_total(mut output: impl Write, total: &QualitySummaryRow) -> Result<(), Failure> {
    writeln!(
        output,
        "All {} monitored sessions: {} silent, {} with loss, {} of recent requests lost.",
        total.sessions,
        total.silent,
        total.lossy,
        percent(total.recent_lost, total.recent)
    )?;
    if total.median_us.is_none() {
        return Ok(());
    }
    writeln!(
        output,
        "Median latency of a session: half of them up to {}, 90% to {}, 99% to {}, the worst {}.",
        long_latency(total.median_us),
        long_latency(total.p90_us),
        long_latency(total.p99_us),
        long_latency(total.worst_us)
    )?;
    Ok(print_classes(output, &total.medians)?)
}

fn print_summaries(mut output: impl Write, rows: &[QualitySummaryRow]) -> Result<(), Failure> {
    let mut table = Table::new(&mut output, SUMMARIES);
    for row in rows.iter().filter(|row| row.sessions > 0) {
        table.push(vec![
            row.lac.clone().unwrap_or_else(|| "(all)".to_owned()),
            row.sessions.to_string(),
            row.silent.to_string(),
            row.lossy.to_string(),
            percent(row.recent_lost, row.recent),
            long_latency(row.median_us),
            long_latency(row.p90_us),
            long_latency(row.p99_us),
            long_latency(row.worst_us),
        ])?;
    }
    table.finish("no session is monitored")?;
    if let Some(total) = rows.first().filter(|total| !total.medians.is_empty()) {
        writeln!(output, "\nSessions by their median latency:")?;
        print_classes(output, &total.medians)?;
    }
    Ok(())
}

/// A bar for each class; one that is not empty is not without a bar.
fn print_classes(mut output: impl Write, classes: &[ClassRow]) -> io::Result<()> {
    let most = classes.iter().map(|class| class.count).max().unwrap_or(0).max(1);
    for class in classes {
        let from = latency(Some(class.from_us));
        let below = class.below_us.map(|below| latency(Some(below))).unwrap_or_default();
        let bar = "#".repeat((class.count * BAR_MAX).div_ceil(most) as usize);
        writeln!(output, "{from:>7} - {below:<7} {:>7}  {bar}", table::count(class.count))?;
    }
    Ok(())
}

/// Hundredths of a percent, where they are few.
fn percent(part: u64, whole: u64) -> String {
    let Some(hundredths) = (part * 10_000).checked_div(whole) else { return String::new() };
    match hundredths {
        // Some, and too few to show: not none.
        0 if part > 0 => "<0.01%".to_owned(),
        0 | 10_000 => format!("{}%", hundredths / 100),
        _ => format!("{}.{:02}%", hundredths / 100, hundredths % 100),
    }
}

fn latency(microseconds: Option<u32>) -> String {
    long_latency(microseconds.map(u64::from))
}

/// Three digits, milliseconds below a second.
fn long_latency(microseconds: Option<u64>) -> String {
    let Some(microseconds) = microseconds else { return String::new() };
    match microseconds {
        0..10_000 => format!("{}.{:02}ms", microseconds / 1000, microseconds / 10 % 100),
        10_000..100_000 => format!("{}.{}ms", microseconds / 1000, microseconds / 100 % 10),
        100_000..1_000_000 => format!("{}ms", microseconds / 1000),
        _ => format!("{}.{:02}s", microseconds / 1_000_000, microseconds / 10_000 % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_three_digits() {
        let shown = [0, 1234, 9_999, 10_000, 99_999, 100_000, 999_999, 1_000_000, 12_345_678]
            .map(|microseconds| latency(Some(microseconds)));
        let expected =
            ["0.00ms", "1.23ms", "9.99ms", "10.0ms", "99.9ms", "100ms", "999ms", "1.00s", "12.34s"];
        assert_eq!(shown, expected);
        assert_eq!(latency(None), "");
    }

    #[test]
    fn few_are_not_none_and_most_are_not_all() {
        let shown = [(0, 0), (0, 9), (1, 1_000_000), (1, 3), (9_999, 10_000), (7, 7)]
            .map(|(a, b)| percent(a, b));
        assert_eq!(shown, ["", "0%", "<0.01%", "33.33%", "99.99%", "100%"]);
    }

    fn row(loss: u32, p99_us: Option<u32>) -> QualityRow {
        QualityRow {
            tunnel_id: 1,
            session_id: 2,
            user: "alice".into(),
            address: "10.0.0.7".parse().ok(),
            lac: "access".into(),
            peer: ([192, 0, 2, 2], 1701).into(),
            sent: 1000,
            lost: 7,
            recent: 200,
            recent_lost: loss,
            recent_untimed: 0,
            silent_ms: 0,
            last_us: Some(12_000),
            min_us: Some(9_000),
            median_us: Some(12_345),
            p99_us,
            max_us: Some(99_000),
            jitter_us: Some(400),
            latencies: vec![
                ClassRow { from_us: 8192, below_us: Some(12_288), count: 50 },
                ClassRow { from_us: 12_288, below_us: Some(16_384), count: 150 },
            ],
        }
    }

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>) -> String {
        let mut output = Vec::new();
        assert!(print(&mut output).is_ok());
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn the_worst_are_sorted_as_the_control_process_does() {
        let mut rows =
            [row(0, Some(10)), row(0, None), row(5, Some(1)), row(0, Some(900)), row(9, None)];
        rows.sort_by_cached_key(badness);
        let order = rows.map(|row| (row.recent_lost, row.p99_us));
        assert_eq!(order, [(9, None), (5, Some(1)), (0, Some(900)), (0, Some(10)), (0, None)]);
    }

    #[test]
    fn a_session_has_its_histogram() {
        let text = printed(|output| print_session(output, &row(1, Some(20_000))));
        assert!(text.contains("Of the last 200 requests 1 are lost (0.50%)"), "{text}");
        let bar = text.lines().last().unwrap();
        assert_eq!(bar, format!(" 12.2ms - 16.3ms      150  {}", "#".repeat(50)));
        let silent = QualityRow { silent_ms: 90_000, ..row(200, None) };
        let text = printed(|output| print_session(output, &silent));
        assert!(text.contains("It does not answer, for 1m30s at least"), "{text}");
    }

    #[test]
    fn everybody_is_summed_up_below_the_worst() {
        let total = QualitySummaryRow {
            lac: None,
            sessions: 3,
            silent: 1,
            lossy: 1,
            recent: 600,
            recent_lost: 6,
            median_us: Some(11_000),
            p90_us: Some(20_000),
            p99_us: Some(30_000),
            worst_us: Some(1_500_000),
            medians: row(0, None).latencies,
        };
        let text = printed(|output| print_sessions(output, &[row(6, Some(20_000))], Some(&total)));
        assert!(text.starts_with("USER "), "{text}");
        assert!(
            text.contains("All 3 monitored sessions: 1 silent, 1 with loss, 1.00% of"),
            "{text}"
        );
        assert!(text.contains("90% to 20.0ms, 99% to 30.0ms, the worst 1.50s."), "{text}");
        let text = printed(|output| print_summaries(output, &[total]));
        assert!(text.lines().nth(1).unwrap().starts_with("(all) "), "{text}");
        let text = printed(|output| print_sessions(output, &[], None));
        assert_eq!(text, "no session is monitored\n");
    }
}
