//! Builds the BPF object that the binary carries, with cargo called directly (docs/adr/0001-bpf-object-from-build-rs.md).
//!
//! Reads `toolchain.env` in the cache folder, which `cargo xtask setup` writes last. One `key=value` a line:
//! `rustc` (a compiler with `core` for BPF), `linker` (its bpf-linker), `strip` (LLVM's, optional), and where `core`
//! comes as source only, `cargo` (the nightly's) with `build_std=1`.
//!
//! Gives the crate `OUT_DIR/earthdog-ebpf.o` and `EARTHDOG_BPF` = `real` | `stub`; `AYA_BUILD_SKIP=1` asks for the stub
//! (an empty object, so that checks and replay need no BPF toolchain).

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGET: &str = "bpfel-unknown-none";
const BINARY: &str = "earthdog-ebpf";
const TOOLCHAIN_FILE: &str = "toolchain.env";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run by cargo only")?);
    let object = out.join("earthdog-ebpf.o");

    println!("cargo:rerun-if-env-changed=AYA_BUILD_SKIP");
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|v| v == "1" || v == "true") {
        fs::write(&object, [])?;
        println!("cargo:rustc-env=EARTHDOG_BPF=stub");
        return Ok(());
    }

    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let workspace = manifest.parent().ok_or("the crate is not inside the workspace")?;
    for path in ["sensor-ebpf/src", "sensor-ebpf/Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }

    let toolchain = Toolchain::find()?;
    let built = toolchain.build(workspace, &out.join("bpf"))?;
    fs::copy(&built, &object)?;
    toolchain.strip(&object)?;
    println!("cargo:rustc-env=EARTHDOG_BPF=real");
    Ok(())
}

struct Toolchain {
    rustc: PathBuf,
    linker: PathBuf,
    strip: Option<PathBuf>,
    cargo: Option<PathBuf>,
    build_std: bool,
}

impl Toolchain {
    fn find() -> Result<Self> {
        for variable in ["EARTHDOG_CACHE", "XDG_CACHE_HOME", "HOME"] {
            println!("cargo:rerun-if-env-changed={variable}");
        }
        let file = cache_folder()
            .ok_or("none of EARTHDOG_CACHE, XDG_CACHE_HOME and HOME is set")?
            .join(TOOLCHAIN_FILE);
        println!("cargo:rerun-if-changed={}", file.display());
        let text = fs::read_to_string(&file).map_err(|error| {
            format!(
                "the BPF toolchain is missing ({}: {error}): run `cargo xtask setup` \
                 (or set AYA_BUILD_SKIP=1 for a binary that can replay but not run)",
                file.display()
            )
        })?;
        Self::parse(&text)
            .map_err(|error| format!("{}: {error}: run `cargo xtask setup`", file.display()).into())
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let program = |key: &str| -> Result<PathBuf> {
            let path = PathBuf::from(value(key).ok_or_else(|| format!("no `{key}`"))?);
            if path.is_file() {
                Ok(path)
            } else {
                Err(format!("`{key}` is gone ({})", path.display()).into())
            }
        };
        Ok(Self {
            rustc: program("rustc")?,
            linker: program("linker")?,
            strip: value("strip").map(PathBuf::from),
            cargo: value("cargo").map(PathBuf::from),
            build_std: value("build_std") == Some("1"),
        })
    }

    fn build(&self, workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
        let outer_cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
        let mut cargo = Command::new(self.cargo.clone().map_or(outer_cargo, OsString::from));
        // The outer build's flags, wrappers (clippy, coverage, fuzzing) and profile are for the host.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let outer = [
                "CARGO_PROFILE_",
                "CARGO_BUILD_",
                "CARGO_TARGET_",
                "CARGO_CFG_",
                "CARGO_FEATURE_",
                "CARGO_PKG_",
            ];
            let wrapper =
                ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "RUSTDOC", "RUSTUP_TOOLCHAIN"];
            if outer.iter().any(|prefix| text.starts_with(prefix)) || wrapper.contains(&&*text) {
                cargo.env_remove(&name);
            }
        }
        let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
        let flags = [
            // 32-bit registers and jumps (linux 5.1): a third fewer instructions, and bounds on u32 that the verifier keeps.
            "-Ctarget-cpu=v3".to_owned(),
            // bpf-linker makes the BTF out of the DWARF.
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "--cfg".to_owned(),
            format!("bpf_target_arch=\"{arch}\""),
            format!("-Clinker={}", self.linker.display()),
        ];
        let status = cargo
            .current_dir(workspace)
            .env("RUSTC", &self.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            // aya-ebpf uses one unstable feature, our programs the atomic intrinsics (sensor-ebpf/src/kernel/maps.rs).
            .env("RUSTC_BOOTSTRAP", "aya_ebpf,sensor_ebpf,earthdog_ebpf")
            // bpf-linker links whole programs; one unit gives the verifier the same code on every machine.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
            .args(["build", "--locked", "--release", "--package", "sensor-ebpf", "--bin", BINARY])
            .args(["--target", TARGET])
            // A folder of its own: the outer cargo holds the lock on ours.
            .arg("--target-dir")
            .arg(target_dir)
            .args(self.build_std.then_some("-Zbuild-std=core"))
            .status()
            .map_err(|error| format!("{}: {error}", cargo.get_program().to_string_lossy()))?;
        if !status.success() {
            return Err(format!("building the BPF object failed ({status}); its messages are above").into());
        }
        Ok(target_dir.join(TARGET).join("release").join(BINARY))
    }

    /// Drops the DWARF: the kernel reads BTF only, and the object shrinks to a tenth.
    fn strip(&self, object: &Path) -> Result<()> {
        let Some(strip) = &self.strip else { return Ok(()) };
        let status = Command::new(strip)
            .arg("--strip-debug")
            .arg(object)
            .status()
            .map_err(|error| format!("{}: {error}", strip.display()))?;
        if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", strip.display()).into()) }
    }
}

/// Where `cargo xtask setup` keeps what it fetched; xtask/src/cache.rs looks in the same order.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EARTHDOG_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("earthdog")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/earthdog")))
}
