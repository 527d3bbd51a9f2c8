//! The fuzz targets over their corpus: what was found once stays mended.

use std::io::Result;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

/// Each input is cut short at so many places, too.
const CUTS: usize = 64;

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let stem = |file: &PathBuf| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(files(folder)?.iter().map(stem).collect())
}

#[test]
fn every_input_of_the_corpus_keeps_the_promises() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in fuzz::TARGETS {
        let inputs = files(&root.join(name))?;
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let data = std::fs::read(&input)?;
            println!("{}", input.display());
            target(&data);
            for cut in 0..CUTS {
                target(&data[..data.len() * cut / CUTS]);
            }
        }
    }
    Ok(())
}

#[test]
fn every_target_is_fuzzed_and_replayed() -> Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let known = fuzz::TARGETS.map(|(name, _)| name);
    assert_eq!(names(&fuzz.join("fuzz_targets"))?, known);
    assert_eq!(names(&fuzz.join("corpus"))?, known);
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml"))?;
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary of the fuzz crate");
    }
    Ok(())
}
