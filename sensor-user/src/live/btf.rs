//! Byte offsets of kernel struct fields, from the running kernel's BTF (`Documentation/bpf/btf.rst`).
//!
//! Only what the kernel programs ask for is read: one pass that notes where each type starts, then a few member
//! look-ups. aya parses the same file into a tree of owned types, which costs a multiple of the 6 MB for nothing.

use std::{fs, io};

use sensor_ebpf::abi::{KernelOffsets, ProcessOffsets};
use zerocopy::FromZeros as _;

/// Where the kernel shows its own types (5.4 and later with CONFIG_DEBUG_INFO_BTF).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A vmlinux BTF is 4 to 15 MB; beyond this something else is being read.
const MAX_BYTES: u64 = 64 << 20;
const MAGIC: u16 = 0xeb9f;
/// Anonymous structs, typedefs and qualifiers between a struct and the member looked for; the kernel has 3 or 4.
const MAX_DEPTH: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{VMLINUX} cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("{VMLINUX} is no BTF this version can read: {0}")]
    Format(&'static str),
    #[error("the kernel's BTF has no type of kind {0}, which this version does not know")]
    Kind(u32),
    #[error("the kernel's BTF has no `{0}`")]
    Missing(String),
}

/// Every offset the kernel programs need, or the name of the first field that is missing. Those of the process table
/// are zero where one of them is missing: who asked is known without.
pub fn kernel_offsets() -> Result<(KernelOffsets, Result<(), Error>), Error> {
    if fs::metadata(VMLINUX)?.len() > MAX_BYTES {
        return Err(Error::Format("it is too large"));
    }
    let data = fs::read(VMLINUX)?;
    let btf = Btf::parse(&data)?;
    let mut offsets = offsets(&btf)?;
    let process = process_offsets(&btf).map(|process| offsets.process = process);
    Ok((offsets, process))
}

fn offsets(btf: &Btf) -> Result<KernelOffsets, Error> {
    let task = btf.structure("task_struct")?;
    let mm = btf.structure("mm_struct")?;
    let net = btf.structure("net")?;
    let sock = btf.structure("sock")?;
    Ok(KernelOffsets {
        task_group_leader: task.member("group_leader")?,
        // Renamed by cf25e24db61c (5.5).
        task_start_boottime: task.member("start_boottime").or_else(|_| task.member("real_start_time"))?,
        task_comm: task.member("comm")?,
        task_tgid: task.member("tgid")?,
        task_real_parent: task.member("real_parent")?,
        task_flags: task.member("flags")?,
        task_cred: task.member("cred")?,
        task_mm: task.member("mm")?,
        cred_uid: btf.structure("cred")?.member("uid")?,
        net_ns_inum: net.member("ns.inum")?,
        mm_arg_start: mm.member("arg_start")?,
        mm_arg_end: mm.member("arg_end")?,
        binprm_filename: btf.structure("linux_binprm")?.member("filename")?,
        task_pid: task.member("pid")?,
        sock_net: sock.member("__sk_common.skc_net.net")?,
        sock_state: sock.member("__sk_common.skc_state")?,
        sock_ports: sock.member("__sk_common.skc_dport")?,
        sock_cookie: sock.member("__sk_common.skc_cookie")?,
        sock_lock_owned: sock.member("sk_lock.owned")?,
        msghdr_name: btf.structure("msghdr")?.member("msg_name")?,
        process: ProcessOffsets::new_zeroed(),
    })
}

fn process_offsets(btf: &Btf) -> Result<ProcessOffsets, Error> {
    let task = btf.structure("task_struct")?;
    let file = btf.structure("file")?;
    let mount = btf.structure("mount")?;
    Ok(ProcessOffsets {
        task_signal: task.member("signal")?,
        task_files: task.member("files")?,
        task_cgroups: task.member("cgroups")?,
        signal_live: btf.structure("signal_struct")?.member("live")?,
        files_fdt: btf.structure("files_struct")?.member("fdt")?,
        fdtable_fd: btf.structure("fdtable")?.member("fd")?,
        file_f_inode: file.member("f_inode")?,
        file_f_path_mnt: file.member("f_path.mnt")?,
        file_f_path_dentry: file.member("f_path.dentry")?,
        inode_i_mode: btf.structure("inode")?.member("i_mode")?,
        dentry_d_parent: btf.structure("dentry")?.member("d_parent")?,
        dentry_d_name: btf.structure("dentry")?.member("d_name.name")?,
        vfsmount_mnt_root: btf.structure("vfsmount")?.member("mnt_root")?,
        mount_mnt: mount.member("mnt")?,
        mount_mnt_parent: mount.member("mnt_parent")?,
        mount_mnt_mountpoint: mount.member("mnt_mountpoint")?,
        binprm_file: btf.structure("linux_binprm")?.member("file")?,
        binprm_interp: btf.structure("linux_binprm")?.member("interp")?,
        css_set_dfl_cgrp: btf.structure("css_set")?.member("dfl_cgrp")?,
        cgroup_kn: btf.structure("cgroup")?.member("kn")?,
        kernfs_node_id: btf.structure("kernfs_node")?.member("id")?,
        pad: 0,
    })
}

/// Type and string sections, with the place of each type by id.
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Byte offset of type `id` at `id - 1`.
    starts: Vec<u32>,
}

/// A struct found by name.
struct Structure<'a> {
    btf: &'a Btf<'a>,
    name: &'a str,
    id: u32,
}

/// The fixed part of every type.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    vlen: u32,
    /// Of a struct: member offsets carry a bit-field size in their top byte.
    kind_flag: bool,
    /// Size, or the type referred to.
    size_or_type: u32,
}

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

const HEAD_BYTES: usize = 12;

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let section = |offset_at: usize, len_at: usize| -> Option<&'a [u8]> {
            let header_len = u32_at(data, 4)? as usize;
            let start = header_len.checked_add(u32_at(data, offset_at)? as usize)?;
            data.get(start..start.checked_add(u32_at(data, len_at)? as usize)?)
        };
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(Error::Format(
                "it does not start with the magic number of this machine's byte order",
            ));
        }
        let cut = Error::Format("a section lies outside the file");
        let (Some(types), Some(strings)) = (section(8, 12), section(16, 20)) else { return Err(cut) };
        let mut btf = Self { types, strings, starts: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            let head = btf.head_at(at).ok_or(Error::Format("a type is cut"))?;
            btf.starts.push(at as u32);
            at += HEAD_BYTES + body_bytes(head)?;
        }
        Ok(btf)
    }

    fn structure(&'a self, name: &'a str) -> Result<Structure<'a>, Error> {
        let found = self.starts.iter().position(|&start| {
            self.head_at(start as usize)
                .is_some_and(|head| head.kind == kind::STRUCT && self.string(head.name) == name.as_bytes())
        });
        let index = found.ok_or_else(|| Error::Missing(format!("struct {name}")))?;
        Ok(Structure { btf: self, name, id: index as u32 + 1 })
    }

    /// Bit offset and type of a member, looked for through anonymous structs and unions.
    fn find(&self, id: u32, member: &[u8], depth: u32) -> Option<(u32, u32)> {
        let (start, head) = self.resolve(id, depth)?;
        if !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..head.vlen as usize {
            let at = start + HEAD_BYTES + index * 12;
            let name = self.string(u32_at(self.types, at)?);
            let type_id = u32_at(self.types, at + 4)?;
            let raw = u32_at(self.types, at + 8)?;
            let bits = if head.kind_flag { raw & 0x00ff_ffff } else { raw };
            if name == member {
                return Some((bits, type_id));
            }
            if name.is_empty()
                && let Some((inner, type_id)) = self.find(type_id, member, depth.checked_sub(1)?)
            {
                return Some((bits.checked_add(inner)?, type_id));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers, with its place.
    fn resolve(&self, mut id: u32, depth: u32) -> Option<(usize, Head)> {
        for _ in 0..=depth {
            let start = *self.starts.get(id.checked_sub(1)? as usize)? as usize;
            let head = self.head_at(start)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = head.size_or_type;
                }
                _ => return Some((start, head)),
            }
        }
        None
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let info = u32_at(self.types, at + 4)?;
        Some(Head {
            name: u32_at(self.types, at)?,
            // 24 bits of length and 7 of kind: older kernels leave the bits above their 16 and 5 zero.
            kind: (info >> 24) & 0x7f,
            vlen: info & 0x00ff_ffff,
            kind_flag: info >> 31 == 1,
            size_or_type: u32_at(self.types, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> &'a [u8] {
        let tail = self.strings.get(offset as usize..).unwrap_or_default();
        tail.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl Structure<'_> {
    /// Byte offset of a member; `a.b` goes into the struct embedded as `a`.
    fn member(&self, path: &str) -> Result<u32, Error> {
        let missing = || Error::Missing(format!("{}.{path}", self.name));
        let (mut id, mut bits) = (self.id, 0u32);
        for member in path.split('.') {
            let (offset, type_id) = self.btf.find(id, member.as_bytes(), MAX_DEPTH).ok_or_else(missing)?;
            bits = bits.checked_add(offset).ok_or_else(missing)?;
            id = type_id;
        }
        // A bit field has no byte address.
        bits.is_multiple_of(8).then_some(bits / 8).ok_or_else(missing)
    }
}

/// Bytes after the fixed part.
fn body_bytes(head: Head) -> Result<usize, Error> {
    let each = match head.kind {
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => return Ok(0),
        kind::INT | kind::VAR | kind::DECL_TAG => return Ok(4),
        kind::ARRAY => return Ok(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12,
        kind::ENUM | kind::FUNC_PROTO => 8,
        other => return Err(Error::Kind(other)),
    };
    Ok(each * head.vlen as usize)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BTF of hand: strings by offset, types by id.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        fn new() -> Self {
            Self { types: Vec::new(), strings: vec![0] }
        }
        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let offset = self.strings.len() as u32;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            offset
        }
        fn words(&mut self, words: &[u32]) {
            for word in words {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }
        fn composite(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
            let name = self.name(name);
            self.words(&[name, kind << 24 | members.len() as u32, 0]);
            for &(member, type_id, bits) in members {
                let member = self.name(member);
                self.words(&[member, type_id, bits]);
            }
        }
        fn build(&self) -> Vec<u8> {
            let mut out = Vec::new();
            out.extend_from_slice(&MAGIC.to_ne_bytes());
            out.extend_from_slice(&[1, 0]);
            for word in [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32] {
                out.extend_from_slice(&word.to_ne_bytes());
            }
            out.extend_from_slice(&self.types);
            out.extend_from_slice(&self.strings);
            out
        }
    }

    fn sample() -> Vec<u8> {
        let mut b = Builder::new();
        let int = b.name("int");
        b.words(&[int, kind::INT << 24, 4, 32]); // 1
        b.composite(kind::STRUCT, "ns_common", &[("ops", 1, 0), ("inum", 1, 128)]); // 2
        let typedef = b.name("ns_t");
        b.words(&[typedef, kind::TYPEDEF << 24, 2]); // 3
        b.composite(kind::STRUCT, "", &[("deep", 1, 32)]); // 4
        b.composite(kind::UNION, "", &[("", 4, 64), ("flat", 1, 0)]); // 5
        b.composite(kind::STRUCT, "net", &[("passive", 1, 0), ("ns", 3, 320), ("", 5, 640), ("bit", 1, 3)]); // 6
        b.build()
    }

    #[test]
    fn members_are_found_through_typedefs_and_anonymous_types() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        let net = btf.structure("net").unwrap();
        assert_eq!(net.member("passive").unwrap(), 0);
        assert_eq!(net.member("ns.inum").unwrap(), 56);
        assert_eq!(net.member("deep").unwrap(), 92);
        assert_eq!(net.member("flat").unwrap(), 80);
    }

    #[test]
    fn what_is_missing_is_named() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.structure("cred").err().unwrap().to_string(), "the kernel's BTF has no `struct cred`");
        let net = btf.structure("net").unwrap();
        assert_eq!(net.member("ns.none").unwrap_err().to_string(), "the kernel's BTF has no `net.ns.none`");
        assert!(net.member("bit").is_err(), "a bit field has no byte offset");
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            if let Ok(btf) = Btf::parse(&changed)
                && let Ok(net) = btf.structure("net")
            {
                let _any = net.member("ns.inum"); // must end without a panic
            }
        }
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        let mut b = Builder::new();
        b.composite(kind::STRUCT, "net", &[("", 1, 0)]);
        b.words(&[0, kind::TYPEDEF << 24, 2]);
        let bytes = b.build();
        let btf = Btf::parse(&bytes).unwrap();
        assert!(btf.structure("net").unwrap().member("x").is_err());
        assert!(btf.resolve(2, MAX_DEPTH).is_none());
    }

    #[test]
    fn the_running_kernel_has_them_all() {
        if !std::path::Path::new(VMLINUX).exists() {
            eprintln!("skipped: no {VMLINUX}");
            return;
        }
        let (offsets, process) = kernel_offsets().unwrap();
        process.unwrap();
        assert!(offsets.process.mount_mnt > 0 && offsets.process.task_files > 0);
        assert!(offsets.task_tgid > 0 && offsets.task_comm > offsets.task_tgid);
        assert!(offsets.mm_arg_end == offsets.mm_arg_start + 8);
    }
}
