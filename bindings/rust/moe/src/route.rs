// SPDX-License-Identifier: MIT
//! Routers: recipes, uses, numbers, limits, overrides.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::raw::c_int;
use std::ptr;

use crate::enums::*;
use crate::error::{check, Error, Result, Status};
use crate::expert::{Expert, ExpertRef};
use crate::ffi::{c_text, collect_text, guarded_in, slice_at, utf8, Outcome};
use crate::info::RouterInfo;
use crate::policy::{self, Policy, PolicyInfo, PolicyOptions, RouteInput, RouteOutput};
use crate::session::Session;
use crate::view::RouteView;
use crate::{Pos, Seq, Token};
use moe_sys as sys;

/// A router's recipe. Get one, edit it, set it; what each member does stands in the library's docs/routing.md.
///
/// ```
/// let mut spec = moe::RouteSpec::default();
/// spec.top_k = 2;
/// let (experts, weights) = spec.route_row(&[0.0, 2.0, 1.0], 0, 0)?;
/// assert_eq!(experts, [1, 2]);
/// assert!(weights[0] > weights[1]);
/// # Ok::<(), moe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct RouteSpec {
    pub score: Score,
    pub select: Select,
    pub weight: WeightRule,
    /// Experts of one token, null experts included.
    pub top_k: u32,
    /// Factor on every weight, after norm.
    pub scale: f32,
    pub norm: Norm,
    pub group_score: GroupScore,
    pub n_groups: u32,
    pub top_groups: u32,
    pub n_null: u32,
    pub k_min: u32,
    pub k_max: u32,
    pub temperature: f32,
    pub top_p: f32,
    pub threshold: f32,
    pub epsilon: f32,
    pub choice: f32,
    pub null_bias: f32,
    pub norm_eps: f32,
    pub norm_p: f32,
    pub capacity: f32,
    pub capacity_min: u32,
    pub capacity_round: CapacityRound,
    pub capacity_order: CapacityOrder,
    pub seed: u64,
    /// Ranks, set or table, as the selection rule has it.
    pub ids: Vec<u32>,
    /// Weights scale the experts' input, not their output.
    pub on_input: bool,
    /// Top-p stops when the sum reaches p, not when it exceeds it.
    pub inclusive: bool,
    /// One draw for a whole sequence; experts choose within sequences.
    pub per_sequence: bool,
    /// Expert choice is meant, also where earlier tokens cannot take part.
    pub noncausal: bool,
    /// Capacity: all first choices are placed before all second ones.
    pub choice_major: bool,
    /// Capacity: norm sees the weights after dropping.
    pub drop_first: bool,
}

impl Default for RouteSpec {
    /// Softmax, the best expert, its score as the weight.
    fn default() -> RouteSpec {
        let raw = sys::moe_route_spec {
            score: sys::MOE_SCORE_SOFTMAX,
            select: sys::MOE_SELECT_TOPK,
            weight: sys::MOE_WEIGHT_RAW,
            top_k: 1,
            ..sys::MOE_ROUTE_SPEC_INIT
        };
        // SAFETY: no pointers in it.
        unsafe { RouteSpec::from_raw(&raw) }
    }
}

impl RouteSpec {
    /// # Safety
    /// `ids` has n_ids values.
    pub(crate) unsafe fn from_raw(raw: &sys::moe_route_spec) -> RouteSpec {
        let flag = |f: u32| raw.flags & f != 0;
        RouteSpec {
            score: Score::from_raw(raw.score),
            select: Select::from_raw(raw.select),
            weight: WeightRule::from_raw(raw.weight),
            top_k: raw.top_k,
            scale: raw.scale,
            norm: Norm::from_raw(raw.norm),
            group_score: GroupScore::from_raw(raw.group_score),
            n_groups: raw.n_groups,
            top_groups: raw.top_groups,
            n_null: raw.n_null,
            k_min: raw.k_min,
            k_max: raw.k_max,
            temperature: raw.temperature,
            top_p: raw.top_p,
            threshold: raw.threshold,
            epsilon: raw.epsilon,
            choice: raw.choice,
            null_bias: raw.null_bias,
            norm_eps: raw.norm_eps,
            norm_p: raw.norm_p,
            capacity: raw.capacity,
            capacity_min: raw.capacity_min,
            capacity_round: CapacityRound::from_raw(raw.capacity_round),
            capacity_order: CapacityOrder::from_raw(raw.capacity_order),
            seed: raw.seed,
            // SAFETY: as promised by the caller.
            ids: unsafe { slice_at(raw.ids, raw.n_ids) }.to_vec(),
            on_input: flag(sys::MOE_ROUTE_ON_INPUT),
            inclusive: flag(sys::MOE_ROUTE_INCLUSIVE),
            per_sequence: flag(sys::MOE_ROUTE_PER_SEQUENCE),
            noncausal: flag(sys::MOE_ROUTE_NONCAUSAL),
            choice_major: flag(sys::MOE_ROUTE_CHOICE_MAJOR),
            drop_first: flag(sys::MOE_ROUTE_DROP_FIRST),
        }
    }

    /// Borrows `ids`.
    pub(crate) fn to_raw(&self) -> sys::moe_route_spec {
        let flag = |on: bool, f: u32| if on { f } else { 0 };
        sys::moe_route_spec {
            score: self.score.to_raw(),
            select: self.select.to_raw(),
            weight: self.weight.to_raw(),
            top_k: self.top_k,
            scale: self.scale,
            flags: flag(self.on_input, sys::MOE_ROUTE_ON_INPUT)
                | flag(self.inclusive, sys::MOE_ROUTE_INCLUSIVE)
                | flag(self.per_sequence, sys::MOE_ROUTE_PER_SEQUENCE)
                | flag(self.noncausal, sys::MOE_ROUTE_NONCAUSAL)
                | flag(self.choice_major, sys::MOE_ROUTE_CHOICE_MAJOR)
                | flag(self.drop_first, sys::MOE_ROUTE_DROP_FIRST),
            norm: self.norm.to_raw(),
            group_score: self.group_score.to_raw(),
            n_groups: self.n_groups,
            top_groups: self.top_groups,
            n_null: self.n_null,
            k_min: self.k_min,
            k_max: self.k_max,
            temperature: self.temperature,
            top_p: self.top_p,
            threshold: self.threshold,
            epsilon: self.epsilon,
            choice: self.choice,
            null_bias: self.null_bias,
            norm_eps: self.norm_eps,
            norm_p: self.norm_p,
            capacity: self.capacity,
            capacity_min: self.capacity_min,
            capacity_round: self.capacity_round.to_raw(),
            capacity_order: self.capacity_order.to_raw(),
            seed: self.seed,
            ids: if self.ids.is_empty() { ptr::null() } else { self.ids.as_ptr() },
            n_ids: self.ids.len(),
            ..sys::MOE_ROUTE_SPEC_INIT
        }
    }

    /// Routes one row of logits by this recipe, outside of any session: experts, best first, and their weights.
    /// Logits are those of the real experts, then those of the null experts.
    pub fn route_row(&self, logits: &[f32], token: Token, pos: Pos) -> Result<(Vec<u32>, Vec<f32>)> {
        let n_experts = logits
            .len()
            .checked_sub(self.n_null as usize)
            .ok_or_else(|| Error::new(Status::Invalid, "fewer logits than null experts"))?;
        let room = logits.len().max(self.top_k as usize).max(n_experts);
        let (mut expert, mut weight, mut n) = (vec![0u32; room], vec![0f32; room], 0);
        let raw = self.to_raw();
        // SAFETY: as many logits as n_experts + n_null, room for all results.
        check(unsafe {
            sys::moe_route_row(
                &raw,
                logits.as_ptr(),
                n_experts,
                token,
                pos,
                expert.as_mut_ptr(),
                weight.as_mut_ptr(),
                &mut n,
            )
        })?;
        expert.truncate(n);
        weight.truncate(n);
        Ok((expert, weight))
    }

    /// The bias of runtime null experts with which rows of logits (`n_experts` each) use `target` real experts on
    /// average (AdaMoE), and the average that it reaches.
    pub fn null_bias_for(&self, logits: &[f32], n_experts: usize, target: f64) -> Result<(f32, f64)> {
        if n_experts == 0 || logits.is_empty() || logits.len() % n_experts != 0 {
            return Err(Error::new(Status::Invalid, "logits: expected whole rows"));
        }
        let (mut bias, mut reached) = (0.0, 0.0);
        let raw = self.to_raw();
        // SAFETY: whole rows.
        check(unsafe {
            sys::moe_route_null_bias(
                &raw,
                logits.as_ptr(),
                logits.len() / n_experts,
                n_experts,
                target,
                &mut bias,
                &mut reached,
            )
        })?;
        Ok((bias, reached))
    }
}

/// A row of the program's own in the place of what the router says about some tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// What it takes the place of.
    pub kind: OverrideKind,
    /// Its sequence; `None`: all.
    pub seq: Option<Seq>,
    /// First position.
    pub first: Pos,
    /// Last position; `None`: all that follow.
    pub last: Option<Pos>,
    /// One value for each expert.
    pub row: Vec<f32>,
}

impl Override {
    /// For all tokens of all sequences.
    pub fn new(kind: OverrideKind, row: impl Into<Vec<f32>>) -> Override {
        Override { kind, seq: None, first: 0, last: None, row: row.into() }
    }
}

pub(crate) fn seq_or_all(seq: Option<Seq>) -> Seq {
    seq.unwrap_or(sys::MOE_ALL_SEQS)
}

/// A router, to be looked at: from [`Session::router_ref`].
pub struct RouterRef<'s> {
    raw: *mut sys::moe_router,
    n_experts: u32,
    lives: PhantomData<&'s Session>,
}

/// A router, or all of a session's, to be changed: from [`Session::router`] and [`Session::routers`]. It borrows the
/// session, so no evaluation can run while it is there. It dereferences to [`RouterRef`], which has what only looks.
///
/// Changes reach all layers or, on failure, none.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
/// let mut session = moe::Model::open(path)?.session()?;
/// session.routers().set_named("threshold:t=0.3,kmax=2")?; // another selection rule in all layers
/// let mut router = session.router(0)?;
/// router.expert(1)?.set_use(moe::Use::Ban)?;
/// assert_eq!(router.info()?.policy, "threshold");
/// assert!(!router.info()?.is_native());
/// session.routers().reset()?; // as the file says
/// # Ok(())
/// # }
/// ```
///
/// The session cannot be used while a router is held:
///
/// ```compile_fail,E0499
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let mut router = session.router(0)?;
/// session.eval(&[1, 2, 3])?;
/// router.reset()?;
/// # Ok(())
/// # }
/// ```
///
/// Nor does a router outlive its session:
///
/// ```compile_fail,E0505
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// let mut router = session.router(0)?;
/// drop(session);
/// router.reset()?;
/// # Ok(())
/// # }
/// ```
pub struct Router<'s> {
    view: RouterRef<'s>,
    pub(crate) session: &'s mut Session,
    pub(crate) layer: u32,
}

// SAFETY: it borrows its session, which is Send, exclusively.
unsafe impl Send for Router<'_> {}

impl<'s> RouterRef<'s> {
    /// # Safety
    /// A router of a session that is borrowed for 's.
    pub(crate) unsafe fn new(raw: *mut sys::moe_router, n_experts: u32) -> RouterRef<'s> {
        RouterRef { raw, n_experts, lives: PhantomData }
    }

    /// What the router is.
    pub fn info(&self) -> Result<RouterInfo> {
        let mut raw = sys::MOE_ROUTER_INFO_INIT;
        // SAFETY: a valid router, a struct to fill in, whose text is copied.
        unsafe {
            check(sys::moe_router_get_info(self.raw, &mut raw))?;
            Ok(RouterInfo::from_raw(&raw))
        }
    }

    /// Its recipe.
    pub fn spec(&self) -> Result<RouteSpec> {
        self.get_spec(sys::MOE_SPEC_CURRENT)
    }

    /// The model's own recipe.
    pub fn native_spec(&self) -> Result<RouteSpec> {
        self.get_spec(sys::MOE_SPEC_NATIVE)
    }

    fn get_spec(&self, which: c_int) -> Result<RouteSpec> {
        let mut raw = sys::MOE_ROUTE_SPEC_INIT;
        // SAFETY: as above; ids are copied.
        unsafe {
            check(sys::moe_router_get_spec(self.raw, which, &mut raw))?;
            Ok(RouteSpec::from_raw(&raw))
        }
    }

    /// Its recipe as text that [`Router::set_named`] takes.
    pub fn named(&self) -> Result<String> {
        // SAFETY: a valid router; the call fills in what it says.
        unsafe { collect_text(|dst, cap, n| sys::moe_router_get_named(self.raw, dst, cap, n)) }.map(utf8)
    }

    /// What every expert may do.
    pub fn uses(&self) -> Result<Vec<Use>> {
        let mut raw = vec![0u8; self.n_experts as usize];
        // SAFETY: a valid router; room as said.
        check(unsafe { sys::moe_router_get_use(self.raw, raw.as_mut_ptr(), raw.len()) })?;
        Ok(raw.into_iter().map(|u| Use::from_raw(i32::from(u))).collect())
    }

    /// A number of every expert.
    pub fn values(&self, kind: Edit) -> Result<Vec<f32>> {
        let mut values = vec![0f32; self.n_experts as usize];
        // SAFETY: a valid router; room as said.
        check(unsafe {
            sys::moe_router_get_values(self.raw, kind.to_raw(), values.as_mut_ptr(), values.len())
        })?;
        Ok(values)
    }

    /// The routing of the rows computed last. Needs a session made with
    /// [`SessionOptions::keep_routes`](crate::SessionOptions::keep_routes).
    pub fn last(&self) -> Result<RouteView<'_>> {
        let mut raw = sys::moe_route_view::default();
        // SAFETY: what it points to is valid until the session changes, which the borrow prevents.
        unsafe {
            check(sys::moe_router_last(self.raw, &mut raw))?;
            Ok(RouteView::from_raw(&raw))
        }
    }

    /// An expert, to be looked at.
    pub fn expert_ref(&self, index: u32) -> Result<ExpertRef<'_>> {
        // SAFETY: borrowed from this.
        Ok(unsafe { ExpertRef::new(self.raw_expert(index)?) })
    }

    pub(crate) fn raw_expert(&self, index: u32) -> Result<*mut sys::moe_expert> {
        let mut out = ptr::null_mut();
        // SAFETY: a valid router.
        check(unsafe { sys::moe_router_expert(self.raw, index, &mut out) })?;
        Ok(out)
    }
}

impl fmt::Debug for RouterRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("info", &self.info().ok()).finish()
    }
}

impl fmt::Debug for Router<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl<'s> Deref for Router<'s> {
    type Target = RouterRef<'s>;

    fn deref(&self) -> &RouterRef<'s> {
        &self.view
    }
}

impl<'s> Router<'s> {
    pub(crate) fn new(session: &'s mut Session, layer: u32) -> Result<Router<'s>> {
        let (raw, n_experts) = session.raw_router(layer)?;
        // SAFETY: borrowed together with the session.
        Ok(Router { view: unsafe { RouterRef::new(raw, n_experts) }, session, layer })
    }

    fn set(&mut self, call: impl FnOnce(*mut sys::moe_router) -> c_int) -> Result<()> {
        let raw = self.view.raw;
        guarded_in(&self.session.stash, || call(raw))
    }

    /// Changes the recipe. Steering stays; a policy of the program's own goes.
    pub fn set_spec(&mut self, spec: &RouteSpec) -> Result<()> {
        let raw = spec.to_raw();
        // SAFETY: a valid router, a spec that lives during the call.
        self.set(|r| unsafe { sys::moe_router_set_spec(r, &raw) })
    }

    /// Changes the recipe by text, e.g. `topp:p=0.4,kmin=1`, `topk:k=2`, `native`, `current:k=3`.
    pub fn set_named(&mut self, text: &str) -> Result<()> {
        let text = c_text(text)?;
        // SAFETY: a valid router, zero-terminated text.
        self.set(|r| unsafe { sys::moe_router_set_named(r, text.as_ptr()) })
    }

    /// Back to the model's own routing: recipe, steering, limits, overrides, experts.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: a valid router.
        self.set(|r| unsafe { sys::moe_router_reset(r) })?;
        self.session.sweep();
        Ok(())
    }

    /// Says for every expert what it may do.
    pub fn set_uses(&mut self, uses: &[Use]) -> Result<()> {
        let raw = uses
            .iter()
            .map(|u| u8::try_from(u.to_raw()))
            .collect::<Result<Vec<u8>, _>>()
            .map_err(|_| Error::new(Status::Invalid, "a use that is not known"))?;
        // SAFETY: a valid router, as many values as said.
        self.set(|r| unsafe { sys::moe_router_set_use(r, raw.as_ptr(), raw.len()) })
    }

    /// Sets a number for every expert.
    pub fn set_values(&mut self, kind: Edit, values: &[f32]) -> Result<()> {
        // SAFETY: a valid router, as many values as said.
        self.set(|r| unsafe { sys::moe_router_set_values(r, kind.to_raw(), values.as_ptr(), values.len()) })
    }

    /// Sets a number back to its neutral value for every expert.
    pub fn clear_values(&mut self, kind: Edit) -> Result<()> {
        // SAFETY: NULL with 0 stands for the neutral value.
        self.set(|r| unsafe { sys::moe_router_set_values(r, kind.to_raw(), ptr::null(), 0) })
    }

    /// Limits a sequence (`None`: all) to some experts (`None`: no limit).
    pub fn set_limit(&mut self, seq: Option<Seq>, experts: Option<&[u32]>) -> Result<()> {
        let (ids, n) = match experts {
            Some([]) => return Err(Error::new(Status::Invalid, "limit: no expert is left")),
            Some(ids) => (ids.as_ptr(), ids.len()),
            None => (ptr::null(), 0),
        };
        // SAFETY: a valid router, as many values as said.
        self.set(|r| unsafe { sys::moe_router_set_limit(r, seq_or_all(seq), ids, n) })
    }

    /// Adds an override row. Of several that fit a token the one added last counts.
    pub fn add_override(&mut self, o: &Override) -> Result<()> {
        if o.row.len() != self.view.n_experts as usize {
            let message = format!("override: {} values for {} experts", o.row.len(), self.view.n_experts);
            return Err(Error::new(Status::Invalid, message));
        }
        let raw = sys::moe_route_override {
            kind: o.kind.to_raw(),
            seq: seq_or_all(o.seq),
            first: o.first,
            last: o.last.unwrap_or(-1),
            row: o.row.as_ptr(),
            ..sys::MOE_ROUTE_OVERRIDE_INIT
        };
        // SAFETY: a valid router, a row of n_experts values, copied.
        self.set(|r| unsafe { sys::moe_router_add_override(r, &raw) })
    }

    /// Removes all override rows.
    pub fn clear_overrides(&mut self) -> Result<()> {
        // SAFETY: a valid router.
        self.set(|r| unsafe { sys::moe_router_clear_overrides(r) })
    }

    /// Routes rows of the program's own: the router's input, i.e. after the norm, `dim` floats a row.
    pub fn route(&mut self, hidden: &[f32]) -> Result<RouteView<'_>> {
        let dim = self.session.dim();
        if hidden.is_empty() || hidden.len() % dim != 0 {
            let message = format!("hidden: {} floats are no whole rows of {dim}", hidden.len());
            return Err(Error::new(Status::Invalid, message));
        }
        let mut raw = sys::moe_route_view::default();
        // SAFETY: whole rows; results are valid until the session changes, which the borrow prevents.
        self.set(|r| unsafe { sys::moe_router_route(r, hidden.as_ptr(), hidden.len() / dim, &mut raw) })?;
        // SAFETY: as above.
        Ok(unsafe { RouteView::from_raw(&raw) })
    }

    /// Has a closure select. It is shared by all routers that this handle stands for, and by sessions that copy the
    /// routing, so it must be `Sync`; with [`PolicyOptions::parallel`] it runs on several threads at once. For a
    /// policy with a state see [`Router::set_policy_with`].
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/data/qwen3moe.gguf");
    /// # let mut session = moe::Model::open(path)?.session()?;
    /// // The worst expert of each token.
    /// session.routers().set_policy(moe::PolicyOptions::new("worst").max_k(1), |input, output| {
    ///     for row in input.rows() {
    ///         output.push(row.ranked().last().copied().unwrap_or(0));
    ///         output.end_row();
    ///     }
    /// })?;
    /// session.eval(&[1, 2, 3])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What a policy captures must own it:
    ///
    /// ```compile_fail,E0373
    /// # fn main() -> moe::Result<()> {
    /// # let mut session = moe::Model::open("model.gguf")?.session()?;
    /// {
    ///     let favourite = vec![3u32];
    ///     session.routers().set_policy(moe::PolicyOptions::new("p"), |_, out| out.push(favourite[0]))?;
    /// }
    /// session.eval(&[1])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_policy<F, R>(&mut self, options: PolicyOptions, route: F) -> Result<()>
    where
        F: Fn(&RouteInput<'_>, &mut RouteOutput<'_>) -> R + Send + Sync + 'static,
        R: Outcome,
    {
        let made = policy::shared(options, route)?;
        self.install(&made)
    }

    /// Has policies with a state of their own select: `make` is called once for each router.
    pub fn set_policy_with<F, P>(&mut self, options: PolicyOptions, make: F) -> Result<()>
    where
        F: Fn(&PolicyInfo) -> P + Send + Sync + 'static,
        P: Policy + 'static,
    {
        let made = policy::stateful(options, make)?;
        self.install(&made)
    }

    fn install(&mut self, made: &policy::Made) -> Result<()> {
        let raw = made.to_raw();
        // SAFETY: a valid router, a valid policy; states keep what they need.
        self.set(|r| unsafe { sys::moe_router_set_policy(r, &raw, made.user()) })
    }

    /// The recipe's rule selects again.
    pub fn clear_policy(&mut self) -> Result<()> {
        // SAFETY: a valid router.
        self.set(|r| unsafe { sys::moe_router_set_policy(r, ptr::null(), ptr::null_mut()) })
    }

    /// An expert of this router, or the ones of that index in all layers.
    pub fn expert(&mut self, index: u32) -> Result<Expert<'_>> {
        Expert::new(self.session, self.layer, index)
    }

    /// The same for as long as the session is borrowed.
    pub fn into_expert(self, index: u32) -> Result<Expert<'s>> {
        Expert::new(self.session, self.layer, index)
    }
}
