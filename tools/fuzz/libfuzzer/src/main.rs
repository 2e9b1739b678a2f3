//! Runs one fuzz target under libFuzzer: the one that `STEPWELL_FUZZ_TARGET` names; without it, lists them. Seeds and the words of a dictionary are
//! written into `STEPWELL_FUZZ_DIR` first, as `seeds/` and `words`.
#![no_main]
#![allow(non_snake_case, reason = "libFuzzer's names")]

// It brings libFuzzer's `main`.
use libfuzzer_sys as _;

use std::{env, fs, path::PathBuf, sync::OnceLock};

use stepwell_fuzz::{CountingAllocator, Target, check};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = env::var("STEPWELL_FUZZ_TARGET").unwrap_or_default();
        stepwell_fuzz::target(&name).unwrap_or_else(|| panic!("STEPWELL_FUZZ_TARGET={name:?} is no target"))
    })
}

/// Called by libFuzzer before it reads its arguments.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerInitialize(_count: *mut i32, _arguments: *mut *mut *mut u8) -> i32 {
    if env::var_os("STEPWELL_FUZZ_TARGET").is_none() {
        stepwell_fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    }
    let Some(dir) = env::var_os("STEPWELL_FUZZ_DIR").map(PathBuf::from) else { return 0 };
    write_seeds(&dir).expect("the folder of the target can be written");
    // A panic that is caught is none that matters; what is not caught says so below.
    stepwell_fuzz::without_backtraces(true);
    0
}

fn write_seeds(dir: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("seeds"))?;
    for (number, seed) in (target().seeds)().iter().enumerate() {
        fs::write(dir.join("seeds").join(format!("seed-{number}")), seed)?;
    }
    for ((name, file), input) in stepwell_fuzz::regressions()? {
        if name == target().name {
            fs::write(dir.join("seeds").join(file), input)?;
        }
    }
    let quoted = |word: &&str| {
        let bytes: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{bytes}\"\n")
    };
    // An empty dictionary would be an error.
    let words: String = [&"\u{1}\0\0\0"].into_iter().chain(target().words).map(quoted).collect();
    fs::write(dir.join("words"), words)
}

/// Called by the library for each input.
#[unsafe(no_mangle)]
#[allow(improper_ctypes_definitions, reason = "libfuzzer-sys declares it with a slice, and is Rust")]
extern "C" fn rust_fuzzer_test_input(input: &[u8]) -> i32 {
    if let Err(payload) = std::panic::catch_unwind(|| check(target(), input)) {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("(no text)");
        eprintln!("{}: {text}", target().name);
        std::process::abort();
    }
    0
}
