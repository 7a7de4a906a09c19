// SPDX-License-Identifier: MIT
//! Statistics of routers and experts.

use std::fmt;
use std::path::Path;
use std::ptr::{self, NonNull};

use crate::enums::{ProfileArray, Rank};
use crate::error::{check, Result};
use crate::ffi::{c_path, collect, guarded, guarded_drop};
use crate::info::{ExpertFind, ProfileInfo, RouterProfile};
use crate::library::check_version;
use crate::model::Model;
use crate::view::RouteView;
use crate::Token;
use moe_sys as sys;

/// What a profile counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Also norms and maxima of the experts' outputs.
    pub outputs: bool,
    /// Also which experts were chosen together.
    pub pairs: bool,
    /// Classes of tokens; 0 = 1.
    pub n_classes: u32,
    /// Different tokens whose experts are counted; 0 = none.
    pub n_tokens_max: u32,
    /// Positions whose dropped choices are counted apart; 0 = none.
    pub n_pos_max: u32,
}

/// Statistics of a model's routers and experts, gathered while a session runs ([`Session::set_profile`]).
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// let model = moe::Model::open(path)?;
/// let mut session = model.session()?;
/// session.set_profile(moe::Profile::new(&model, Default::default())?)?;
/// session.eval(&[1, 2, 3])?;
/// let profile = session.take_profile().unwrap();
/// assert_eq!(profile.router(0)?.tokens, 3);
/// let counts = profile.read(0, moe::ProfileArray::Count)?;
/// assert_eq!(counts.len(), model.info().n_experts as usize);
/// # Ok(())
/// # }
/// ```
///
/// [`Session::set_profile`]: crate::Session::set_profile
pub struct Profile {
    raw: NonNull<sys::moe_profile>,
    _model: Option<Model>,
}

// SAFETY: a profile may be used by any one thread at a time.
unsafe impl Send for Profile {}

impl Drop for Profile {
    fn drop(&mut self) {
        // SAFETY: no session gathers into it: one that did would own it.
        guarded_drop(None, || unsafe { sys::moe_profile_free(self.raw.as_ptr()) });
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("info", &self.info()).finish()
    }
}

impl Profile {
    /// An empty one for a model.
    pub fn new(model: &Model, options: ProfileOptions) -> Result<Profile> {
        let raw = sys::moe_profile_options {
            flags: if options.outputs { sys::MOE_PROFILE_OUTPUTS } else { 0 }
                | if options.pairs { sys::MOE_PROFILE_PAIRS } else { 0 },
            n_classes: options.n_classes,
            n_tokens_max: options.n_tokens_max,
            n_pos_max: options.n_pos_max,
            ..sys::MOE_PROFILE_OPTIONS_INIT
        };
        let mut out = ptr::null_mut();
        // SAFETY: a valid model, which is kept for its hooks.
        guarded(|| unsafe { sys::moe_profile_create(&mut out, model.raw(), &raw) })?;
        Ok(Profile::made(out, Some(model)))
    }

    /// Reads one; it must belong to the model. Without a model it can only be looked at.
    pub fn load_file(model: Option<&Model>, path: impl AsRef<Path>) -> Result<Profile> {
        check_version()?;
        let path = c_path(path.as_ref())?;
        let raw = model.map_or(ptr::null_mut(), Model::raw);
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        guarded(|| unsafe { sys::moe_profile_load_file(&mut out, raw, path.as_ptr()) })?;
        Ok(Profile::made(out, model))
    }

    fn made(raw: *mut sys::moe_profile, model: Option<&Model>) -> Profile {
        Profile { raw: NonNull::new(raw).expect("a profile that was made"), _model: model.cloned() }
    }

    pub(crate) fn raw(&self) -> *mut sys::moe_profile {
        self.raw.as_ptr()
    }

    /// Begins a prompt: tokens that follow are of this class.
    pub fn begin(&mut self, class: u32) -> Result<()> {
        // SAFETY: a valid profile, as in all that follow.
        check(unsafe { sys::moe_profile_begin(self.raw(), class) })
    }

    /// Marks tokens: wherever they come they are of this class; `None` takes marks away.
    pub fn mark(&mut self, class: Option<u32>, ids: &[Token]) -> Result<()> {
        let class = class.unwrap_or(u32::MAX);
        // SAFETY: as many ids as said.
        guarded(|| unsafe { sys::moe_profile_mark(self.raw(), class, ids.as_ptr(), ids.len()) })
    }

    /// Counts routing that comes from elsewhere.
    pub fn add(&mut self, view: &RouteView<'_>) -> Result<()> {
        // SAFETY: a consistent view.
        guarded(|| unsafe { sys::moe_profile_add(self.raw(), view.raw()) })
    }

    /// Forgets all counts; options and marks stay.
    pub fn reset(&mut self) {
        // SAFETY: a valid profile.
        unsafe { sys::moe_profile_reset(self.raw()) }
    }

    /// Adds the counts of another profile of the same shape and options.
    pub fn merge(&mut self, other: &Profile) -> Result<()> {
        // SAFETY: two valid profiles.
        guarded(|| unsafe { sys::moe_profile_merge(self.raw(), other.raw()) })
    }

    /// Writes it to a file that appears under its name only when whole.
    pub fn save_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        // SAFETY: zero-terminated text.
        guarded(|| unsafe { sys::moe_profile_save_file(self.raw(), path.as_ptr()) })
    }

    /// What it is.
    pub fn info(&self) -> ProfileInfo {
        let mut raw = sys::MOE_PROFILE_INFO_INIT;
        // SAFETY: a struct to fill in, without pointers, as in all that follow.
        unsafe {
            sys::moe_profile_get_info(self.raw(), &mut raw);
            ProfileInfo::from_raw(&raw)
        }
    }

    /// Statistics of one router; all zero for a dense layer.
    pub fn router(&self, layer: u32) -> Result<RouterProfile> {
        let mut raw = sys::MOE_ROUTER_PROFILE_INIT;
        // SAFETY: as above.
        unsafe {
            check(sys::moe_profile_router(self.raw(), layer, &mut raw))?;
            Ok(RouterProfile::from_raw(&raw))
        }
    }

    /// An array of one router.
    pub fn read(&self, layer: u32, what: ProfileArray) -> Result<Vec<f64>> {
        // SAFETY: the call fills in what it says.
        unsafe {
            collect(self.info().n_experts as usize + 1, |dst, cap, n| {
                sys::moe_profile_read(self.raw(), layer, what.to_raw(), dst, cap, n)
            })
        }
    }

    /// Super Experts (Su et al. 2025). Of profiles with outputs.
    pub fn super_experts(&self) -> Result<Vec<ExpertFind>> {
        let info = self.info();
        let mut raw = self.room(info.n_layers as usize * info.n_experts as usize);
        let mut n = 0;
        // SAFETY: room as said.
        check(unsafe { sys::moe_profile_super(self.raw(), raw.as_mut_ptr(), raw.len(), &mut n) })?;
        Ok(found(&raw, n))
    }

    /// The `n` experts of all layers that are tied most to a class. `other`: the class to compare with, `None`: all
    /// others together; not read for [`Rank::Npmi`].
    pub fn rank(&self, by: Rank, class: u32, other: Option<u32>, n: usize) -> Result<Vec<ExpertFind>> {
        let info = self.info();
        let mut raw = self.room(n.min(info.n_layers as usize * info.n_experts as usize));
        let (other, mut n) = (other.unwrap_or(u32::MAX), 0);
        // SAFETY: room as said.
        check(unsafe {
            sys::moe_profile_rank(self.raw(), by.to_raw(), class, other, raw.as_mut_ptr(), raw.len(), &mut n)
        })?;
        Ok(found(&raw, n))
    }

    fn room(&self, n: usize) -> Vec<sys::moe_expert_find> {
        vec![sys::MOE_EXPERT_FIND_INIT; n.max(1)]
    }
}

fn found(raw: &[sys::moe_expert_find], n: usize) -> Vec<ExpertFind> {
    // SAFETY: no pointers in it.
    raw.iter().take(n).map(|r| unsafe { ExpertFind::from_raw(r) }).collect()
}
