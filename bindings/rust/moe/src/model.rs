// SPDX-License-Identifier: MIT
//! Model files.

use std::borrow::Cow;
use std::ffi::CString;
use std::fmt;
use std::os::raw::{c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::enums::{LogLevel, MetaKind, TensorType};
use crate::error::{check, Result};
use crate::ffi::{c_path, c_text, enter, guarded, guarded_drop, slice_at, text_at, Outcome};
use crate::info::{LayerInfo, Memory, ModelInfo, Progress};
use crate::library::{check_version, thread_count};
use crate::memory::{address, c_allocator, c_logger, Allocator, Hooks, Keep};
use crate::route::RouteSpec;
use crate::session::{Session, SessionOptions};
use crate::source::{hand_over, Source};
use crate::tokenizer::Tokenizer;
use moe_sys as sys;

/// How a model is opened. Made by [`Model::options`].
#[derive(Default)]
#[must_use]
pub struct ModelOptions<'p> {
    flags: u32,
    n_threads: c_int,
    memory_budget: u64,
    isa_max: Option<String>,
    hooks: Hooks,
    progress: Option<ProgressFn<'p>>,
}

pub(crate) type ProgressFn<'p> = Box<dyn FnMut(&Progress) -> Result<()> + 'p>;

impl<'p> ModelOptions<'p> {
    fn flag(mut self, flag: u32, on: bool) -> Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// Whether the file is mapped (the default) or read.
    pub fn mmap(self, on: bool) -> Self {
        self.flag(sys::MOE_OPEN_NO_MMAP, !on)
    }

    /// No weights: info, metadata and tokenizer only.
    pub fn metadata_only(self, on: bool) -> Self {
        self.flag(sys::MOE_OPEN_METADATA_ONLY, on)
    }

    /// Also looks for infinities and NaN in all weights.
    pub fn check_data(self, on: bool) -> Self {
        self.flag(sys::MOE_OPEN_CHECK_DATA, on)
    }

    /// Experts are copied into private memory.
    pub fn resident(self, on: bool) -> Self {
        self.flag(sys::MOE_OPEN_RESIDENT, on)
    }

    /// Threads that read weights; 0 = one per usable CPU.
    pub fn threads(mut self, n: usize) -> Self {
        self.n_threads = thread_count(n);
        self
    }

    /// Most bytes that opening may allocate; 0 = no limit.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// Highest instruction-set level, e.g. `avx2` or `ref`.
    pub fn isa_max(mut self, level: impl Into<String>) -> Self {
        self.isa_max = Some(level.into());
        self
    }

    /// Memory of the model and its sessions.
    pub fn allocator(mut self, allocator: Arc<dyn Allocator>) -> Self {
        self.hooks.allocator = Some(allocator);
        self
    }

    /// Hears log lines up to a level: level, part of the library, text. Called from several threads at once.
    pub fn logger<F>(mut self, level: LogLevel, log: F) -> Self
    where
        F: Fn(LogLevel, &str, &str) + Send + Sync + 'static,
    {
        self.hooks.logger = Some((level, Arc::new(log)));
        self
    }

    /// Hears how loading goes on, and may stop it.
    pub fn progress<F, R>(mut self, mut f: F) -> Self
    where
        F: FnMut(&Progress) -> R + 'p,
        R: Outcome,
    {
        self.progress = Some(Box::new(move |p| f(p).outcome()));
        self
    }

    /// Opens a GGUF file; the first one of a split set opens all.
    pub fn open(mut self, path: impl AsRef<Path>) -> Result<Model> {
        let path = c_path(path.as_ref())?;
        self.with_raw(|o, out| {
            // SAFETY: all pointers are valid during the call; hooks are kept by the model.
            unsafe { sys::moe_model_open(out, path.as_ptr(), o) }
        })
    }

    /// Opens a file that the program has.
    pub fn open_source(mut self, source: impl Source + 'static) -> Result<Model> {
        self.with_raw(|o, out| {
            let (mut file, name, user) = hand_over(Box::new(source));
            file.name = name.as_ptr();
            // SAFETY: as above; the source belongs to the library from here on, which closes it.
            unsafe { sys::moe_model_open_file(out, &file, user, o) }
        })
    }

    fn with_raw(
        &mut self,
        open: impl FnOnce(*const sys::moe_model_options, *mut *mut sys::moe_model) -> c_int,
    ) -> Result<Model> {
        check_version()?;
        let keep = self.hooks.keep();
        let mut out = ptr::null_mut();
        let mut progress = self.progress.take();
        self.raw(&keep, |o| {
            if let Some(f) = &mut progress {
                o.progress = Some(progress_for_c);
                o.progress_user = (f as *mut ProgressFn<'p>).cast();
            }
            guarded(|| open(o, &mut out))
        })?;
        Ok(Model { raw: NonNull::new(out).expect("an opened model"), keep })
    }

    /// Calls with the C struct, without progress.
    pub(crate) fn raw<T>(
        &self,
        keep: &Keep,
        call: impl FnOnce(&mut sys::moe_model_options) -> Result<T>,
    ) -> Result<T> {
        let isa: Option<CString> = self.isa_max.as_deref().map(c_text).transpose()?;
        let (allocator, logger) = (c_allocator(keep), c_logger(keep));
        let mut o = sys::moe_model_options {
            flags: self.flags,
            n_threads: self.n_threads,
            memory_budget: self.memory_budget,
            isa_max: isa.as_ref().map_or(ptr::null(), |t| t.as_ptr()),
            allocator: address(&allocator),
            logger: address(&logger),
            ..sys::MOE_MODEL_OPTIONS_INIT
        };
        call(&mut o)
    }

    pub(crate) fn keep(&self) -> Keep {
        self.hooks.keep()
    }
}

impl fmt::Debug for ModelOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelOptions")
            .field("flags", &self.flags)
            .field("n_threads", &self.n_threads)
            .field("memory_budget", &self.memory_budget)
            .field("isa_max", &self.isa_max)
            .finish_non_exhaustive()
    }
}

/// For closures of the type [`ProgressFn`], wherever they live.
pub(crate) unsafe extern "C" fn progress_for_c(p: *const sys::moe_progress, user: *mut c_void) -> c_int {
    // SAFETY: p is valid during the call; user is the closure, used by nobody else now.
    let (report, f) = unsafe { (Progress::from_raw(&*p), &mut *(user as *mut ProgressFn<'_>)) };
    enter(|| f(&report))
}

/// A model: immutable, shared by any number of sessions and threads. A clone is another reference.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf");
/// let model = moe::Model::open(path)?;
/// let info = model.info();
/// println!("{}: {} experts, {} used", info.arch, info.n_experts, info.top_k);
/// let session = model.session()?; // keeps the model alive by itself
/// drop(model);
/// assert!(session.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Model {
    raw: NonNull<sys::moe_model>,
    keep: Keep,
}

// SAFETY: a model is immutable, its references are counted atomically, its hooks are Send + Sync.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Clone for Model {
    fn clone(&self) -> Model {
        // SAFETY: a valid model; what is retained is released in drop.
        unsafe { sys::moe_model_retain(self.raw.as_ptr()) };
        Model { raw: self.raw, keep: self.keep.clone() }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: each Model holds one reference; its hooks are dropped after this.
        guarded_drop(None, || unsafe { sys::moe_model_release(self.raw.as_ptr()) });
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.info()).finish()
    }
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetaValue<'m> {
    /// Of unsigned types.
    Unsigned(u64),
    /// Of signed types.
    Signed(i64),
    /// Of float types.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text; bytes that are no UTF-8 are replaced.
    Text(Cow<'m, str>),
    /// An array, to be read with [`Model::meta_array`].
    Array {
        /// Kind of its elements.
        kind: MetaKind,
        /// Their number.
        len: u64,
    },
}

impl<'m> MetaValue<'m> {
    /// # Safety
    /// Filled in by the library for a model that lives for 'm.
    unsafe fn from_raw(raw: &sys::moe_meta) -> MetaValue<'m> {
        match MetaKind::from_raw(raw.r#type) {
            MetaKind::Bool => MetaValue::Bool(raw.u64 != 0),
            MetaKind::U8 | MetaKind::U16 | MetaKind::U32 | MetaKind::U64 => MetaValue::Unsigned(raw.u64),
            MetaKind::I8 | MetaKind::I16 | MetaKind::I32 | MetaKind::I64 => MetaValue::Signed(raw.i64),
            MetaKind::Array => MetaValue::Array { kind: MetaKind::from_raw(raw.elem_type), len: raw.n },
            MetaKind::Text => {
                // SAFETY: n bytes of text, as promised by the caller.
                let bytes: &'m [u8] = unsafe { slice_at(raw.str.cast(), raw.n as usize) };
                MetaValue::Text(String::from_utf8_lossy(bytes))
            }
            _ => MetaValue::Float(raw.f64),
        }
    }

    /// As text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            MetaValue::Text(t) => Some(t),
            _ => None,
        }
    }

    /// As a number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            MetaValue::Unsigned(v) => Some(v as f64),
            MetaValue::Signed(v) => Some(v as f64),
            MetaValue::Float(v) => Some(v),
            _ => None,
        }
    }

    /// As a whole number that is not negative, if it is one.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            MetaValue::Unsigned(v) => Some(v),
            MetaValue::Signed(v) => u64::try_from(v).ok(),
            _ => None,
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Name as in the file.
    pub name: String,
    /// Type of its elements.
    pub kind: TensorType,
    /// Sizes; the first is the contiguous one.
    pub dims: Vec<u64>,
    /// Bytes of its data.
    pub bytes: u64,
}

impl Model {
    /// How to open: options, then [`ModelOptions::open`].
    pub fn options<'p>() -> ModelOptions<'p> {
        ModelOptions::default()
    }

    /// Opens a GGUF file; the first one of a split set opens all.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::options().open(path)
    }

    /// Opens a model that lies in memory, or in whatever the program has.
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/olmoe.gguf");
    /// let bytes: Vec<u8> = std::fs::read(path)?;
    /// let model = moe::Model::from_source(bytes)?;
    /// assert_eq!(model.info().arch, "olmoe");
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_source(source: impl Source + 'static) -> Result<Model> {
        Model::options().open_source(source)
    }

    pub(crate) fn raw(&self) -> *mut sys::moe_model {
        self.raw.as_ptr()
    }

    pub(crate) fn hooks(&self) -> &Keep {
        &self.keep
    }

    /// # Safety
    /// A valid model, with `keep` as it was opened with.
    pub(crate) unsafe fn retained(raw: *mut sys::moe_model, keep: Keep) -> Model {
        // SAFETY: as promised by the caller.
        let raw = unsafe { sys::moe_model_retain(raw) };
        Model { raw: NonNull::new(raw).expect("a model"), keep }
    }

    /// What the model is.
    pub fn info(&self) -> ModelInfo {
        let mut raw = sys::MOE_MODEL_INFO_INIT;
        // SAFETY: a valid model, a struct to fill in, which then has valid texts.
        unsafe {
            sys::moe_model_get_info(self.raw(), &mut raw);
            ModelInfo::from_raw(&raw)
        }
    }

    /// What one layer is.
    pub fn layer(&self, layer: u32) -> Result<LayerInfo> {
        let mut raw = sys::MOE_LAYER_INFO_INIT;
        // SAFETY: a valid model, a struct to fill in.
        unsafe {
            check(sys::moe_model_get_layer(self.raw(), layer, &mut raw))?;
            Ok(LayerInfo::from_raw(&raw))
        }
    }

    /// The router recipe that the file prescribes for a layer.
    pub fn route(&self, layer: u32) -> Result<RouteSpec> {
        let mut raw = sys::MOE_ROUTE_SPEC_INIT;
        // SAFETY: a valid model, a struct to fill in, whose ids are copied.
        unsafe {
            check(sys::moe_model_get_route(self.raw(), layer, &mut raw))?;
            Ok(RouteSpec::from_raw(&raw))
        }
    }

    /// All metadata in the order of the file.
    pub fn meta(&self) -> impl Iterator<Item = (Cow<'_, str>, MetaValue<'_>)> + '_ {
        // SAFETY: a valid model.
        let n = unsafe { sys::moe_model_meta_count(self.raw()) };
        (0..n).filter_map(move |i| {
            let mut raw = sys::MOE_META_INIT;
            // SAFETY: a valid model, a struct to fill in; texts live as long as the model.
            unsafe {
                check(sys::moe_model_meta_at(self.raw(), i, &mut raw)).ok()?;
                Some((text_at(raw.key), MetaValue::from_raw(&raw)))
            }
        })
    }

    /// Metadata by key, e.g. `general.name`.
    pub fn meta_find(&self, key: &str) -> Result<MetaValue<'_>> {
        let key = c_text(key)?;
        let mut raw = sys::MOE_META_INIT;
        // SAFETY: as above.
        unsafe {
            check(sys::moe_model_meta_find(self.raw(), key.as_ptr(), &mut raw))?;
            Ok(MetaValue::from_raw(&raw))
        }
    }

    /// One element of an array.
    pub fn meta_elem(&self, key: &str, j: u64) -> Result<MetaValue<'_>> {
        let key = c_text(key)?;
        let mut raw = sys::MOE_META_INIT;
        // SAFETY: as above.
        unsafe {
            check(sys::moe_model_meta_elem(self.raw(), key.as_ptr(), j, &mut raw))?;
            Ok(MetaValue::from_raw(&raw))
        }
    }

    /// All elements of an array.
    pub fn meta_array(&self, key: &str) -> Result<Vec<MetaValue<'_>>> {
        match self.meta_find(key)? {
            MetaValue::Array { len, .. } => (0..len).map(|j| self.meta_elem(key, j)).collect(),
            other => Ok(vec![other]),
        }
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo> + '_ {
        // SAFETY: a valid model.
        let n = unsafe { sys::moe_model_tensor_count(self.raw()) };
        (0..n).filter_map(move |i| self.tensor(i).ok())
    }

    /// A tensor by its place in the file.
    pub fn tensor(&self, i: usize) -> Result<TensorInfo> {
        let mut raw = sys::MOE_TENSOR_INFO_INIT;
        // SAFETY: a valid model, a struct to fill in; the name lives as long as the model.
        unsafe {
            check(sys::moe_model_tensor_at(self.raw(), i, &mut raw))?;
            Ok(TensorInfo {
                name: text_at(raw.name).into_owned(),
                kind: TensorType::from_raw(raw.r#type),
                dims: raw.dim[..(raw.n_dims as usize).min(4)].to_vec(),
                bytes: raw.bytes,
            })
        }
    }

    /// Place of a tensor by name.
    pub fn tensor_find(&self, name: &str) -> Result<usize> {
        let name = c_text(name)?;
        let mut i = 0;
        // SAFETY: a valid model.
        check(unsafe { sys::moe_model_tensor_find(self.raw(), name.as_ptr(), &mut i) })?;
        Ok(i)
    }

    /// Reads elements of a tensor from `first` on, converted to f32: as many as `dst` has.
    pub fn tensor_read(&self, i: usize, first: u64, dst: &mut [f32]) -> Result<()> {
        // SAFETY: a valid model; dst has the room that is said.
        guarded(|| unsafe { sys::moe_model_tensor_read(self.raw(), i, first, dst.len(), dst.as_mut_ptr()) })
    }

    /// The model's tokenizer. It keeps the model alive.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::of_model(self)
    }

    /// A session with defaults.
    pub fn session(&self) -> Result<Session> {
        SessionOptions::default().create(self)
    }

    /// What this model and a session with these options would take.
    pub fn memory(&self, session: &SessionOptions) -> Result<Memory> {
        let mut raw = sys::MOE_MEMORY_INIT;
        session.with_plain(|o| {
            // SAFETY: a valid model, valid options, a struct to fill in.
            check(unsafe { sys::moe_model_get_memory(self.raw(), o, &mut raw) })
        })?;
        // SAFETY: no pointers in it.
        Ok(unsafe { Memory::from_raw(&raw) })
    }
}

/// What a model and a session would take, answered from the file's header: no weights are read.
pub fn plan(path: impl AsRef<Path>, model: &ModelOptions<'_>, session: &SessionOptions) -> Result<Memory> {
    check_version()?;
    let path = c_path(path.as_ref())?;
    let keep = model.keep();
    let mut raw = sys::MOE_MEMORY_INIT;
    model.raw(&keep, |mo| {
        session.with_plain(|so| {
            // SAFETY: all pointers are valid during the call, a struct to fill in.
            guarded(|| unsafe { sys::moe_plan(path.as_ptr(), mo, so, &mut raw) })
        })
    })?;
    // SAFETY: no pointers in it.
    Ok(unsafe { Memory::from_raw(&raw) })
}
