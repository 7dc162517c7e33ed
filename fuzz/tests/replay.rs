//! The committed corpus, and mutations of it, on the toolchain at hand: what fuzzing has found once is
//! tried in every `make test`, and something new besides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xlns_fuzz::mutate::mutate;
use xlns_fuzz::{TARGETS, Target, target};

/// Mutations of each target.
const MUTATIONS: usize = 500;

/// Octets of the whole corpus.
const CORPUS_BYTES_MAX: u64 = 1 << 20;

/// Files of the whole corpus.
const CORPUS_FILES_MAX: usize = 500;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(target: &Target) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join(target.name));
    let mut files: Vec<_> =
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs one input; what it breaks, in a line.
fn broken(target: &Target, input: &[u8]) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let panic = outcome.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .or_else(|| Some("panicked".into()))
}

#[test]
fn the_corpus_holds() {
    let mut broken_by = Vec::new();
    for target in TARGETS {
        let files = files(target);
        assert!(!files.is_empty(), "{}: no corpus", target.name);
        for file in files {
            if let Some(text) = broken(target, &std::fs::read(&file).unwrap()) {
                let file = file.strip_prefix(folder()).unwrap().display().to_string();
                broken_by.push(format!("make fuzz FILE=fuzz/corpus/{file}\n  {text}"));
            }
        }
    }
    assert!(broken_by.is_empty(), "{}", broken_by.join("\n"));
}

#[test]
fn mutations_of_the_corpus_hold() {
    for target in TARGETS {
        let inputs: Vec<Vec<u8>> =
            files(target).iter().map(|file| std::fs::read(file).unwrap()).collect();
        let mut rng = StdRng::seed_from_u64(1);
        for number in 0..MUTATIONS {
            let start = inputs.choose(&mut rng).map_or(&[][..], Vec::as_slice);
            // Some are mutated by what another one has.
            let others = if rng.random_bool(0.5) { &inputs[..] } else { &[] };
            let input = mutate(&mut rng, start, others, target.input_bytes_max);
            if let Some(text) = broken(target, &input) {
                let hex: String = input.iter().map(|octet| format!("{octet:02x}")).collect();
                panic!("{} mutation {number}: {text}\n  {hex}", target.name);
            }
        }
    }
}

/// `make fuzz FILE=..` without libFuzzer: the target is the file's folder.
#[test]
fn one_file() {
    let Some(file) = std::env::var_os("FILE").map(PathBuf::from) else { return };
    let name = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let target = target(&name).unwrap_or_else(|| panic!("{name}: no such target"));
    let root = folder().join("../..");
    let input = std::fs::read(root.join(&file)).unwrap_or_else(|error| panic!("{error}"));
    (target.run)(&input);
    println!("{}: {} octets, and nothing is broken", target.name, input.len());
}

#[test]
fn the_corpus_is_small_and_every_folder_is_a_target_s() {
    let (mut bytes, mut count) = (0, 0);
    for target in TARGETS {
        for file in files(target) {
            let length = file.metadata().unwrap().len();
            assert!(length <= target.input_bytes_max as u64, "{} is too long", file.display());
            (bytes, count) = (bytes + length, count + 1);
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} octets: minimise it");
    assert!(count <= CORPUS_FILES_MAX, "{count} files: minimise it");
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(target(&name).is_some(), "fuzz/corpus/{name} is no target's");
    }
}
