//! Continues a prompt by the C library.
//!
//!     cmake -S native -B build/library -DCPU1_LIBRARY=ON
//!     cmake --build build/library --parallel 4
//!     CPU1_LIB=$PWD/build/library/library cargo run --manifest-path examples/rust/Cargo.toml -- \
//!         checkpoints/default.cpu1 "Once upon a time"

mod cpu1;

fn run(path: &str, prompt: &str) -> Result<(), String> {
    let model = cpu1::Model::open(path)?;
    let bits = model.session()?.score(prompt.as_bytes())?;
    let mut session = model.session()?;
    session.read(prompt.as_bytes())?;
    let text = session.generate(120, 0.6, 42)?;
    let (major, minor) = cpu1::version();
    let mean = bits.iter().sum::<f64>() / bits.len().max(1) as f64;
    eprintln!("libcpu1 {major}.{minor}; the prompt has {mean:.3} bits per byte");
    println!("{prompt}{}", String::from_utf8_lossy(&text));
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let done = match words.as_slice() {
        [_, path, prompt] => run(path, prompt),
        _ => Err("usage: cpu1-example MODEL.cpu1 PROMPT".into()),
    };
    if let Err(message) = done {
        eprintln!("{message}");
        std::process::exit(1);
    }
}
