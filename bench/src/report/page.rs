//! The page: what was run where, then every chart with its numbers.

use std::fmt::Write as _;

use super::bars::Bars;
use super::chart::{Chart, Form, Series};
use super::charts::Section;
use super::html::escape;
use super::layout::{NARROW, WIDE};
use super::lines::Lines;
use super::read::{File, number, text};
use super::scale;

/// Colours of series; more series begin again.
pub const COLOURS: usize = 8;

/// Sheet of styles. The colours are told apart by people who see few of them, on white and on black.
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(files: &[File], sections: &[Section]) -> String {
    let mut body = String::new();
    for section in sections {
        let (title, note) = (escape(section.title), escape(section.note));
        let _ = write!(body, "<section><h2>{title}</h2><p>{note}</p><div class=\"charts\">");
        for chart in &section.charts {
            body.push_str(&figure(chart));
        }
        body.push_str("</div></section>");
    }
    if sections.is_empty() {
        body.push_str("<p>There is nothing to draw in these records.</p>");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>xlns-bench</title><style>{STYLE}</style></head><body>\
         <svg width=\"0\" height=\"0\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"6\" \
         height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect width=\"3\" height=\"6\" class=\"stripe\"/></pattern></defs></svg>\
         <header><h1>xlns-bench</h1>{}</header>{body}</body></html>\n",
        head(files)
    )
}

/// Where, when and how each file was made.
fn head(files: &[File]) -> String {
    let mut head = String::new();
    let hosts: std::collections::BTreeSet<String> = files
        .iter()
        .filter(|file| !text(&file.record["cpu"]).is_empty())
        .map(|file| format!("{} {}", text(&file.record["cpu"]), text(&file.record["kernel"])))
        .collect();
    let known = |file: &&File| !text(&file.record["cpu"]).is_empty();
    if let (1, Some(file)) = (hosts.len(), files.iter().find(known)) {
        let kernel = text(&file.record["kernel"]);
        let _ = write!(head, "<p>{}, Linux {}</p>", escape(&cpu(file)), escape(kernel));
    }
    if hosts.len() > 1 {
        head.push_str(
            "<p class=\"warning\">These runs are from different machines or kernels: compare within \
             one, not between.</p>",
        );
    }
    head.push_str("<div class=\"runs\">");
    for file in files {
        head.push_str(&run(file));
    }
    head + "</div>"
}

fn run(file: &File) -> String {
    let record = &file.record;
    let mut facts: Vec<(&str, String)> = Vec::new();
    let mut fact = |name, value: String| {
        if !value.is_empty() {
            facts.push((name, value));
        }
    };
    fact("command", text(&record["command"]).to_owned());
    fact("started", text(&record["started"]).to_owned());
    fact("CPU", cpu(file));
    let kernel = [&record["kernel"], &record["guest_kernel"]].map(text).join(" ");
    fact("kernel", kernel.trim().to_owned());
    fact(
        "load before",
        number(&record["load_average"]).map(|load| load.to_string()).unwrap_or_default(),
    );
    fact("clock, governor", two(text(&record["clock_source"]), text(&record["governor"])));
    for field in ["ports", "lns_ports"] {
        for port in file.list(field) {
            let queues = number(&port["queues"]).map(|count| format!("{count} queues"));
            let parts = [
                text(&port["driver"]).to_owned(),
                queues.unwrap_or_default(),
                text(&port["xdp_mode"]).to_owned(),
            ];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            let value = parts.collect::<Vec<_>>().join(", ");
            fact("port", format!("{}: {value}", text(&port["interface"])));
        }
    }
    for server in file.list("servers") {
        let parts = [&server["name"], &server["version"], &server["mode"]].map(text);
        fact("server", parts.join(" "));
    }
    fact("xlns", text(&record["version"]).to_owned());
    let mut html = format!(
        "<details class=\"run\"><summary><b>{}</b> <span>{}</span></summary><dl>",
        escape(&file.name),
        escape(&file.benchmark)
    );
    for (name, value) in facts {
        let _ = write!(html, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    html + "</dl></details>"
}

fn cpu(file: &File) -> String {
    let record = &file.record;
    let mut parts = vec![text(&record["cpu"]).to_owned()];
    parts.extend(number(&record["cores"]).map(|cores| format!("{cores} cores")));
    parts.extend(number(&record["memory_mib"]).map(|mib| format!("{:.0} GiB", mib / 1024.0)));
    if record["virtual_machine"].is_string() {
        parts.push("a guest".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn two(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn figure(chart: &Chart) -> String {
    let mut html = format!("<figure><figcaption>{}</figcaption>", escape(&chart.title));
    if !chart.note.is_empty() {
        let _ = write!(html, "<p>{}</p>", escape(&chart.note));
    }
    html.push_str(&legend(chart));
    for layout in [WIDE, NARROW] {
        html.push_str(&match &chart.form {
            Form::Lines { x, names } => {
                Lines { x, names, y: &chart.values, series: &chart.series }.draw(layout)
            }
            Form::Bars { groups, stacked, marks } => {
                let marks = marks.as_ref().map_or(&[][..], |(_, marks)| marks);
                let (axis, series) = (&chart.values, &chart.series);
                Bars { axis, groups, series, stacked: *stacked, marks }.draw(layout)
            }
        });
    }
    if chart.has_bound() {
        html.push_str("<p class=\"bound\">* the generator was at its end: it may be more</p>");
    }
    html + &table(chart) + "</figure>"
}

fn legend(chart: &Chart) -> String {
    let named = |series: &&Series| !series.name.is_empty() && series.values().next().is_some();
    let mut html = String::from("<ul class=\"legend\">");
    for (index, series) in chart.series.iter().enumerate() {
        if named(&series) {
            let (class, name) = (index % COLOURS, escape(&series.name));
            let _ = write!(html, "<li><i class=\"b{class}\"></i>{name}</li>");
        }
    }
    if let Form::Bars { marks: Some((what, _)), .. } = &chart.form {
        let _ = write!(html, "<li><i class=\"limit\"></i>{}</li>", escape(what));
    }
    html + "</ul>"
}

/// The same as numbers.
fn table(chart: &Chart) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for series in &chart.series {
        for (index, point) in series.points.iter().enumerate() {
            let Some(point) = point.as_ref().filter(|point| point.y.is_finite()) else { continue };
            let (place, note) = match &chart.form {
                Form::Bars { groups, .. } => {
                    (groups.get(index).cloned().unwrap_or_default(), point.note.clone())
                }
                Form::Lines { .. } if point.note.is_empty() => {
                    (scale::number(point.x), String::new())
                }
                Form::Lines { .. } => (point.note.clone(), String::new()),
            };
            let star = if point.bound { " *" } else { "" };
            rows.push([series.name.clone(), place, scale::number(point.y) + star, note]);
        }
    }
    let has_notes = rows.iter().any(|[_, _, _, note]| !note.is_empty());
    let place = match &chart.form {
        Form::Lines { x, .. } => x.label.as_str(),
        Form::Bars { .. } => "",
    };
    let mut html = format!(
        "<details><summary>Numbers</summary><div class=\"scroll\"><table><tr><th></th><th>{}</th>\
         <th>{}</th>{}</tr>",
        escape(place),
        escape(&chart.values.label),
        if has_notes { "<th></th>" } else { "" }
    );
    for [series, place, value, note] in rows {
        let [series, place, value] = [series, place, value].map(|text| escape(&text));
        let _ =
            write!(html, "<tr><td>{series}</td><td>{place}</td><td class=\"number\">{value}</td>");
        if has_notes {
            let _ = write!(html, "<td>{}</td>", escape(&note));
        }
        html.push_str("</tr>");
    }
    html + "</table></div></details>"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::charts;
    use super::super::read::file;
    use super::*;

    fn steer(name: &str, cpu: &str) -> File {
        file(
            name,
            json!({"benchmark": "steer", "schema": 1, "cpu": cpu, "kernel": "6.18", "cores": 2,
                "command": "xlns-bench steer <x>",
                "rows": [{"what": "control", "over_empty_ns": 24.0, "allowed_ns": 25.0}]}),
        )
    }

    #[test]
    fn a_page_stands_alone_and_shows_every_chart_twice() {
        let files = [steer("one", "a"), steer("two", "a")];
        let page = page(&files, &charts::all(&files));
        assert_eq!(page.matches("<svg class=\"wide\"").count(), 1);
        assert_eq!(page.matches("<svg class=\"narrow\"").count(), 1);
        assert!(page.contains("xlns-bench steer &lt;x&gt;"), "{page}");
        assert!(!page.contains("different machines"));
        for outside in ["http:", "https:", "<script", "@import", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        // All that is opened is closed.
        for element in ["div", "figure", "section", "svg", "details", "table", "tr", "td", "ul"] {
            let opened = page.matches(&format!("<{element} ")).count()
                + page.matches(&format!("<{element}>")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }

    #[test]
    fn machines_that_differ_are_told_and_nothing_is_nothing() {
        let files = [steer("one", "a"), steer("two", "b")];
        assert!(page(&files, &charts::all(&files)).contains("different machines"));
        let empty = [file("empty", json!({"benchmark": "wire"}))];
        let sections = charts::all(&empty);
        assert!(sections.is_empty());
        assert!(page(&empty, &sections).contains("nothing to draw"));
    }
}
