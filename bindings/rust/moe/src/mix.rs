// SPDX-License-Identifier: MIT
//! Several sessions, one token: contrast and mixtures. And the shape of layers.

use std::ptr;

use crate::enums::Mix;
use crate::error::{check, Error, Result, Status};
use crate::info::ShapeInfo;
use crate::session::Session;
use moe_sys as sys;

/// Settings of SCMoE contrastive decoding. The default is the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// Tokens below `max(strong) + ln(alpha)` are out.
    pub alpha: f32,
    /// Strength.
    pub beta: f32,
    /// Divides the strong logits first.
    pub temp: f32,
    /// Divides the weak ones.
    pub temp_weak: f32,
}

impl Default for Contrast {
    fn default() -> Contrast {
        let c = sys::MOE_CONTRAST_INIT;
        Contrast { alpha: c.alpha, beta: c.beta, temp: c.temp, temp_weak: c.temp_weak }
    }
}

impl Contrast {
    fn to_raw(self) -> sys::moe_contrast {
        sys::moe_contrast {
            alpha: self.alpha,
            beta: self.beta,
            temp: self.temp,
            temp_weak: self.temp_weak,
            ..sys::MOE_CONTRAST_INIT
        }
    }

    /// Of two rows of logits.
    ///
    /// ```
    /// let z = moe::Contrast::default().logits(&[2.0, 1.9, -9.0], &[0.0, 2.0, 0.0])?;
    /// assert_eq!(z[2], f32::NEG_INFINITY); // out: not plausible
    /// assert!(z[0] > z[1]); // the weak routing would have said it too
    /// # Ok::<(), moe::Error>(())
    /// ```
    pub fn logits(&self, strong: &[f32], weak: &[f32]) -> Result<Vec<f32>> {
        if strong.len() != weak.len() {
            let message = format!("{} strong logits, {} weak ones", strong.len(), weak.len());
            return Err(Error::new(Status::Invalid, message));
        }
        let (mut out, raw) = (vec![0f32; strong.len()], self.to_raw());
        // SAFETY: three rows of the same length.
        check(unsafe {
            sys::moe_contrast_logits(strong.as_ptr(), weak.as_ptr(), strong.len(), &raw, out.as_mut_ptr())
        })?;
        Ok(out)
    }

    /// Of a row of two sessions: one with the ordinary routing, one with the weak one, at the same text.
    pub fn sessions(&self, strong: &Session, weak: &Session, row: usize) -> Result<Vec<f32>> {
        let (mut out, raw) = (vec![0f32; strong.logits(row)?.len()], self.to_raw());
        // SAFETY: two valid sessions, room as said.
        check(unsafe {
            sys::moe_session_contrast(strong.raw(), weak.raw(), row, &raw, out.as_mut_ptr(), out.len())
        })?;
        Ok(out)
    }
}

fn weights_for(n: usize, weights: Option<&[f32]>) -> Result<*const f32> {
    match weights {
        Some(w) if w.len() != n => {
            Err(Error::new(Status::Invalid, format!("mix: {} weights for {n} rows", w.len())))
        }
        Some(w) => Ok(w.as_ptr()),
        None => Ok(ptr::null()),
    }
}

/// Mixes rows of logits. Weights are divided by their sum (not for [`Mix::Lse`]); `None` = all 1.
///
/// ```
/// let mixed = moe::mix_logits(moe::Mix::Logits, &[&[1.0, 0.0], &[0.0, 1.0]], Some(&[3.0, 1.0]))?;
/// assert_eq!(mixed, [0.75, 0.25]);
/// # Ok::<(), moe::Error>(())
/// ```
pub fn mix_logits(mode: Mix, rows: &[&[f32]], weights: Option<&[f32]>) -> Result<Vec<f32>> {
    let n_vocab = rows.first().map_or(0, |r| r.len());
    if rows.iter().any(|r| r.len() != n_vocab) {
        return Err(Error::new(Status::Invalid, "mix: rows of different lengths"));
    }
    let weights = weights_for(rows.len(), weights)?;
    let pointers: Vec<*const f32> = rows.iter().map(|r| r.as_ptr()).collect();
    let mut out = vec![0f32; n_vocab];
    // SAFETY: rows of n_vocab floats, a weight for each, or none.
    check(unsafe {
        sys::moe_mix_logits(mode.to_raw(), pointers.as_ptr(), weights, rows.len(), n_vocab, out.as_mut_ptr())
    })?;
    Ok(out)
}

/// Mixes a row of logits of several sessions, of one or several models with the same vocabulary.
pub fn mix_sessions(
    mode: Mix,
    sessions: &[&Session],
    weights: Option<&[f32]>,
    row: usize,
) -> Result<Vec<f32>> {
    let n_vocab = match sessions.first() {
        Some(s) => s.logits(row)?.len(),
        None => 0,
    };
    let weights = weights_for(sessions.len(), weights)?;
    let pointers: Vec<*const sys::moe_session> = sessions.iter().map(|s| s.raw() as *const _).collect();
    let mut out = vec![0f32; n_vocab];
    // SAFETY: valid sessions, a weight for each, or none; room as said.
    check(unsafe {
        sys::moe_session_mix(
            mode.to_raw(),
            pointers.as_ptr(),
            weights,
            sessions.len(),
            row,
            out.as_mut_ptr(),
            out.len(),
        )
    })?;
    Ok(out)
}

/// The shape of a MoE layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream.
    pub dim: u32,
    /// Width of a routed expert.
    pub dim_ff_expert: u32,
    /// Width of all shared experts together.
    pub dim_ff_shared: u32,
    /// Routed experts.
    pub n_experts: u32,
    /// Of these, used by a token.
    pub top_k: u32,
    /// Matrices of an expert; 0 = 3.
    pub n_matrices: u32,
}

impl Shape {
    /// Its measures.
    ///
    /// ```
    /// let shape = moe::Shape { dim: 8, dim_ff_expert: 4, n_experts: 4, top_k: 1, ..Default::default() };
    /// assert_eq!(shape.measure()?.activation, 0.25);
    /// # Ok::<(), moe::Error>(())
    /// ```
    pub fn measure(&self) -> Result<ShapeInfo> {
        let raw = sys::moe_shape {
            dim: self.dim,
            dim_ff_expert: self.dim_ff_expert,
            dim_ff_shared: self.dim_ff_shared,
            n_experts: self.n_experts,
            top_k: self.top_k,
            n_matrices: self.n_matrices,
            ..sys::MOE_SHAPE_INIT
        };
        let mut out = sys::MOE_SHAPE_INFO_INIT;
        // SAFETY: a struct to fill in, without pointers.
        unsafe {
            check(sys::moe_shape_measure(&raw, &mut out))?;
            Ok(ShapeInfo::from_raw(&out))
        }
    }
}
