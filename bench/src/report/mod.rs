//! `xlns-bench report`: records of runs as one page of HTML that needs nothing beside itself.
//!
//! [`read`] takes files in, [`charts`] finds in them what there is to draw, [`lines`] and [`bars`]
//! draw it, [`page`] puts it together.

mod bars;
mod chart;
mod charts;
mod html;
mod layout;
mod lines;
mod page;
mod read;
mod scale;

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

/// What to draw.
#[derive(Debug, Args)]
#[command(after_help = "\
Records of one benchmark are drawn side by side, each under its file's name:
  xlns-bench pipeline --quick --save before.json
  xlns-bench pipeline --quick --save after.json
  xlns-bench report before.json after.json --output page.html")]
pub struct Arguments {
    /// Records that runs have written, and summaries of the zero-copy lab.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The page.
    #[arg(long, value_name = "PAGE.html")]
    output: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// Every file that is no record, with the reason; nothing is written then.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let read = arguments.files.iter().map(|path| read::read(path));
    let (files, wrong): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n            ").into());
    }
    let files: Vec<_> = files.into_iter().flatten().collect();
    let sections = charts::all(&files);
    let page = page::page(&files, &sections);
    let path = arguments.output.display();
    std::fs::write(&arguments.output, page)
        .map_err(|error| format!("cannot write {path}: {error}"))?;
    let charts: usize = sections.iter().map(|section| section.charts.len()).sum();
    println!("{path}: {charts} charts of {} runs", files.len());
    Ok(())
}
