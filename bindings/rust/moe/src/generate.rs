// SPDX-License-Identifier: MIT
//! Generation as iterators.

use std::fmt;
use std::iter::FusedIterator;
use std::ptr;

use crate::error::Result;
use crate::sampler::Sampler;
use crate::session::Session;
use crate::tokenizer::{Decoder, Encode};
use crate::Token;
use moe_sys as sys;

/// Tokens that a session generates: from [`Session::tokens`].
///
/// A token is evaluated when the next one is asked for, so that it is handed out as soon as it is known;
/// [`Tokens::finish`] evaluates the last one. After an error the iterator ends.
pub struct Tokens<'s> {
    session: &'s mut Session,
    sampler: &'s mut Sampler,
    step: sys::moe_next,
    left: usize,
    n: usize,
    ended: bool,
}

// SAFETY: the step's pointers are null.
unsafe impl Send for Tokens<'_> {}

impl fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("n", &self.n).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Tokens<'_> {
    /// At most so many from now on.
    #[must_use]
    pub fn max_tokens(mut self, n: usize) -> Self {
        self.left = n;
        self
    }

    /// Tokens handed out so far.
    pub fn count_so_far(&self) -> usize {
        self.n
    }

    /// Whether the model has ended its text.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn new<'s>(session: &'s mut Session, sampler: &'s mut Sampler) -> Tokens<'s> {
        let step = sys::moe_next {
            size: std::mem::size_of::<sys::moe_next>(),
            id: sys::MOE_TOKEN_NONE,
            seq: 0,
            flags: 0,
            attr: 0,
            stream: ptr::null_mut(),
            text: ptr::null_mut(),
            cap: 0,
            len: 0,
        };
        Tokens { session, sampler, step, left: usize::MAX, n: 0, ended: false }
    }

    /// Evaluates the last token, unless a step has failed behind its evaluation.
    fn flush(&mut self) -> Result<()> {
        if self.ended || self.step.flags != 0 || self.step.id == sys::MOE_TOKEN_NONE {
            return Ok(());
        }
        self.session.eval(&[self.step.id])?;
        self.step.id = sys::MOE_TOKEN_NONE;
        Ok(())
    }

    /// Evaluates the token handed out last, so that the session holds the whole text.
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn make(&mut self) -> Result<Option<Token>> {
        let (sampler, step) = (self.sampler.raw(), &mut self.step);
        // SAFETY: a valid session and sampler, borrowed by this; no text is asked for.
        self.session.call(|s| unsafe { sys::moe_session_next(s, sampler, step) })?;
        if step.attr & sys::MOE_ATTR_END != 0 {
            self.ended = true;
            return Ok(None);
        }
        self.n += 1;
        Ok(Some(step.id))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Result<Token>> {
        if self.ended || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let next = self.make();
        if next.is_err() {
            self.left = 0;
        }
        next.transpose()
    }
}

impl FusedIterator for Tokens<'_> {}

/// Text that a session generates: from [`Session::generate`]. Pieces are whole characters, never empty.
///
/// A generation borrows its session, which therefore cannot be used for something else meanwhile:
///
/// ```compile_fail,E0499
/// # fn main() -> moe::Result<()> {
/// # let mut session = moe::Model::open("model.gguf")?.session()?;
/// # let mut sampler = moe::Sampler::new()?;
/// let text = session.generate("Once", &mut sampler)?;
/// session.eval(&[1])?;
/// for piece in text {}
/// # Ok(())
/// # }
/// ```
pub struct Text<'s> {
    tokens: Tokens<'s>,
    decoder: Decoder,
    done: bool,
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.fmt(f)
    }
}

impl Text<'_> {
    /// At most so many tokens from now on.
    #[must_use]
    pub fn max_tokens(mut self, n: usize) -> Self {
        self.tokens = self.tokens.max_tokens(n);
        self
    }

    /// Tokens behind the text handed out so far.
    pub fn tokens_so_far(&self) -> usize {
        self.tokens.count_so_far()
    }

    /// Whether the model has ended its text.
    pub fn has_ended(&self) -> bool {
        self.tokens.has_ended()
    }

    /// All that is left, as one text. Evaluates the last token too.
    pub fn collect_text(mut self) -> Result<String> {
        let mut all = String::new();
        for piece in &mut self {
            all += &piece?;
        }
        self.finish()?;
        Ok(all)
    }

    /// Evaluates the token behind the last piece, so that the session holds the whole text.
    pub fn finish(self) -> Result<()> {
        self.tokens.finish()
    }
}

impl Iterator for Text<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        while !self.done {
            let piece = match self.tokens.next() {
                Some(Ok(id)) => self.decoder.push(id),
                Some(Err(e)) => {
                    self.done = true;
                    return Some(Err(e));
                }
                None => {
                    self.done = true;
                    self.decoder.finish()
                }
            };
            match piece {
                Ok("") => {}
                Ok(text) => return Some(Ok(text.to_owned())),
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
        }
        None
    }
}

impl FusedIterator for Text<'_> {}

impl Session {
    /// Generates tokens after what sequence 0 holds (the last evaluation must have computed its logits), until the
    /// model ends its text.
    pub fn tokens<'s>(&'s mut self, sampler: &'s mut Sampler) -> Tokens<'s> {
        Tokens::new(self, sampler)
    }

    /// Evaluates a prompt in sequence 0 and generates the text that follows. The model's begin-of-text token is put
    /// first if the sequence is empty.
    ///
    /// ```
    /// # fn main() -> moe::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf");
    /// let mut session = moe::Model::open(path)?.session()?;
    /// let mut sampler = moe::Sampler::parse("top-k:k=40;temp:t=0.8;dist:seed=7")?;
    /// for piece in session.generate("Once upon a time", &mut sampler)?.max_tokens(20) {
    ///     print!("{}", piece?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate<'s>(&'s mut self, prompt: &str, sampler: &'s mut Sampler) -> Result<Text<'s>> {
        let bos = self.is_empty();
        self.generate_with(prompt, Encode { bos, special: false }, sampler)
    }

    /// The same with the prompt encoded as told, e.g. one of [`Tokenizer::chat`](crate::Tokenizer::chat).
    pub fn generate_with<'s>(
        &'s mut self,
        prompt: &str,
        how: Encode,
        sampler: &'s mut Sampler,
    ) -> Result<Text<'s>> {
        let tokenizer = self.model().tokenizer()?;
        let ids = tokenizer.encode_with(prompt, how)?;
        self.eval(&ids)?;
        ids.iter().try_for_each(|&id| sampler.accept(id))?;
        let decoder = tokenizer.decoder(false);
        let tokens = Tokens::new(self, sampler);
        Ok(Text { tokens, decoder, done: false })
    }
}
