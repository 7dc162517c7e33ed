//! `xlns-bench report`: pages of real runs in a real browser, on a desk and on a phone.

use std::process::Command;

use serde_json::Value;
use xlns_tests::Lab;
use xlns_tests::netns::Netns;
use xlns_tests::process::run;

/// Widths of windows, pixels: a phone and a desk.
const WIDTHS: [u32; 2] = [390, 1280];

/// The smallest letters that are read with pleasure, pixels.
const FONT_MIN: f64 = 11.0;

/// Measures a page from the inside, and tells the window around it.
const PROBE: &str = r#"<script>
const texts = [], small = [], outside = [], overlaps = [];
for (const svg of document.querySelectorAll("figure svg")) {
  const frame = svg.getBoundingClientRect();
  if (frame.width === 0) continue;
  const scale = frame.width / svg.viewBox.baseVal.width;
  const boxes = [];
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    const size = parseFloat(getComputedStyle(text).fontSize) * scale;
    if (size < MIN) small.push(text.textContent);
    if (box.left < frame.left - 2 || box.right > frame.right + 2) outside.push(text.textContent);
    for (const [other, name] of boxes) {
      const apart = box.left > other.right - 1 || box.right < other.left + 1 ||
        box.top > other.bottom - 4 || box.bottom < other.top + 4;
      if (!apart) overlaps.push(name + " | " + text.textContent);
    }
    boxes.push([box, text.textContent]);
    texts.push(text.textContent);
  }
}
const width = document.documentElement.scrollWidth;
parent.postMessage({ texts: texts.length, small, outside, overlaps, width }, "*");
</script>"#;

/// What the probe tells of a page in a window of that width.
fn look(lab: &Lab, namespace: &Netns, page: &str, width: u32) -> Value {
    let scratch = lab.scratch();
    let probe = PROBE.replace("MIN", &FONT_MIN.to_string());
    let probed = page.replace("</body>", &(probe + "</body>"));
    std::fs::write(scratch.join("page.html"), probed).unwrap();
    let around = format!(
        "<!DOCTYPE html><body><iframe width={width} height=900 src=page.html></iframe><script>\
         onmessage = event => {{ const found = document.createElement('pre'); found.id = 'found';\
         found.textContent = JSON.stringify(event.data);\
         document.body.append(found); }};</script></body>"
    );
    let frame = scratch.join("frame.html");
    std::fs::write(&frame, around).unwrap();
    let mut chromium = namespace.command("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", scratch.join("chromium").display()))
        .arg(format!("--window-size={},1000", width + 40))
        .arg(format!("file://{}", frame.display()));
    let document = run(&mut chromium).unwrap();
    let found = document.split_once("id=\"found\">").and_then(|(_, rest)| rest.split_once('<'));
    let (found, _) = found.unwrap_or_else(|| panic!("no probe: {document}"));
    let found = found.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"))
}

#[test]
fn a_page_fits_a_phone_and_a_desk() {
    if Command::new("chromium").arg("--version").output().is_err() {
        eprintln!("left out: no chromium (scripts/setup chromium)");
        return;
    }
    let lab = Lab::start("page").unwrap();
    let namespace = Netns::create(&lab, "browser").unwrap();
    let program = lab.program("xlns-bench").unwrap();
    let record = |name: &str, words: &[&str]| {
        let path = lab.scratch().join(name);
        run(Command::new(&program).args(words).arg("--save").arg(&path)).unwrap();
        path
    };
    let pipeline = ["pipeline", "--quick", "--sessions", "1000", "--sizes", "--stages"];
    let brief = ["pipeline", "--quick", "--sessions", "1000,16000", "--only-main"];
    let wire = ["wire", "--quick", "--search", "--size", "64,imix", "--seconds", "0.2"];
    let files = [
        record("a-name-that-is-rather-long-for-a-legend.json", &pipeline),
        record("pipeline.json", &brief),
        record("wire.json", &wire),
        record("calls.json", &["calls", "--memory", "--sessions", "1000"]),
        record("ramp.json", &["calls", "--lab", "--ramp", "200:400:2", "--step-seconds", "1"]),
        record("steer.json", &["steer", "--turns", "3"]),
    ];
    let output = lab.scratch().join("report.html");
    let mut report = Command::new(&program);
    let said = run(report.arg("report").args(&files).arg("--output").arg(&output)).unwrap();
    let page = std::fs::read_to_string(&output).unwrap();
    assert!(said.contains("of 6 runs"), "{said}");
    for width in WIDTHS {
        let found = look(&lab, &namespace, &page, width);
        let list = |name: &str| found[name].as_array().unwrap().clone();
        assert!(found["texts"].as_u64().unwrap() > 100, "{width}: {found}");
        for wrong in ["small", "outside", "overlaps"] {
            assert!(list(wrong).is_empty(), "{width}: {wrong}: {found:#}");
        }
        assert!(found["width"].as_u64().unwrap() <= u64::from(width), "{width}: {found}");
    }
}
