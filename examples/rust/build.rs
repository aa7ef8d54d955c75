//! Links libcpu1.so: from the folder named by CPU1_LIB, or from where the system has it.

fn main() {
    println!("cargo:rerun-if-env-changed=CPU1_LIB");
    if let Ok(folder) = std::env::var("CPU1_LIB") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    println!("cargo:rustc-link-lib=cpu1");
}
