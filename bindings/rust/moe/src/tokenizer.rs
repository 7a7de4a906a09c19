// SPDX-License-Identifier: MIT
//! Text to tokens and back.

use std::fmt;
use std::os::raw::c_char;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use crate::enums::Special;
use crate::error::{check, static_text, Error, Result, Status};
use crate::ffi::{c_path, c_text, collect, collect_text, guarded, guarded_drop, slice_at, utf8};
use crate::library::check_version;
use crate::memory::{address, c_allocator, Allocator, Hooks, Keep};
use crate::model::Model;
use crate::Token;
use moe_sys as sys;

/// A vocabulary: immutable, may be used from any thread. A clone is another reference to the same one.
#[derive(Clone)]
pub struct Tokenizer {
    raw: *const sys::moe_tokenizer,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Model(Model),
    Own(#[allow(dead_code)] Arc<Opened>), // dropped with its last clone
}

struct Opened {
    raw: *mut sys::moe_tokenizer,
    _keep: Keep,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: opened, and nobody uses it any more.
        guarded_drop(None, || unsafe { sys::moe_tokenizer_free(self.raw) });
    }
}

// SAFETY: tokenizers are immutable, any thread may use and free them.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}
// SAFETY: as above.
unsafe impl Send for Tokenizer {}
// SAFETY: as above.
unsafe impl Sync for Tokenizer {}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What kind of token it is: bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenAttr(u32);

impl TokenAttr {
    /// Text.
    pub fn is_normal(self) -> bool {
        self.0 & sys::MOE_ATTR_NORMAL != 0
    }
    /// Stands for what the vocabulary lacks.
    pub fn is_unknown(self) -> bool {
        self.0 & sys::MOE_ATTR_UNKNOWN != 0
    }
    /// Special, without text of its own.
    pub fn is_control(self) -> bool {
        self.0 & sys::MOE_ATTR_CONTROL != 0
    }
    /// Added, always matched whole.
    pub fn is_user(self) -> bool {
        self.0 & sys::MOE_ATTR_USER != 0
    }
    /// A hole in the vocabulary.
    pub fn is_unused(self) -> bool {
        self.0 & sys::MOE_ATTR_UNUSED != 0
    }
    /// One byte.
    pub fn is_byte(self) -> bool {
        self.0 & sys::MOE_ATTR_BYTE != 0
    }
    /// Generation should stop here.
    pub fn is_end(self) -> bool {
        self.0 & sys::MOE_ATTR_END != 0
    }
    /// The bits that C uses.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// How text is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Put the begin-of-text token first if the model asks for it.
    pub bos: bool,
    /// Text such as `<|im_start|>` becomes its special token. Not for text from strangers.
    pub special: bool,
}

impl Tokenizer {
    pub(crate) fn of_model(model: &Model) -> Result<Tokenizer> {
        let mut raw = ptr::null();
        // SAFETY: a valid model; the tokenizer lives as long as the model, which is kept.
        check(unsafe { sys::moe_model_tokenizer(model.raw(), &mut raw) })?;
        Ok(Tokenizer { raw, owner: Owner::Model(model.clone()) })
    }

    /// Opens only the tokenizer of a GGUF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Tokenizer> {
        Tokenizer::open_in(path, None)
    }

    /// The same with memory of the program's own.
    pub fn open_in(path: impl AsRef<Path>, allocator: Option<Arc<dyn Allocator>>) -> Result<Tokenizer> {
        check_version()?;
        let path = c_path(path.as_ref())?;
        let keep = Hooks::of(allocator);
        let hook = c_allocator(&keep);
        let mut raw = ptr::null_mut();
        // SAFETY: valid pointers; the hook is kept as long as the tokenizer.
        guarded(|| unsafe { sys::moe_tokenizer_open(&mut raw, path.as_ptr(), address(&hook)) })?;
        Ok(Tokenizer { raw, owner: Owner::Own(Arc::new(Opened { raw, _keep: keep })) })
    }

    /// The model that it belongs to; `None` for one opened alone.
    pub fn model(&self) -> Option<&Model> {
        match &self.owner {
            Owner::Model(m) => Some(m),
            Owner::Own(_) => None,
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        // SAFETY: a valid tokenizer, as in all that follow.
        unsafe { sys::moe_tokenizer_size(self.raw) }
    }

    /// Whether there are no tokens at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Text to tokens, without anything added.
    pub fn encode(&self, text: impl AsRef<[u8]>) -> Result<Vec<Token>> {
        self.encode_with(text, Encode::default())
    }

    /// Text to tokens. Zero bytes and invalid UTF-8 are kept.
    pub fn encode_with(&self, text: impl AsRef<[u8]>, how: Encode) -> Result<Vec<Token>> {
        let text = text.as_ref();
        let flags = if how.bos { sys::MOE_ENCODE_BOS } else { 0 }
            | if how.special { sys::MOE_ENCODE_SPECIAL } else { 0 };
        // SAFETY: text has the length that is said; the call fills in what it says.
        unsafe {
            collect(text.len() / 3 + 8, |dst, cap, n| {
                sys::moe_tokenizer_encode(
                    self.raw,
                    text.as_ptr() as *const c_char,
                    text.len(),
                    flags,
                    dst,
                    cap,
                    n,
                )
            })
        }
    }

    /// Tokens to text; special tokens are left out, bytes that are no UTF-8 are replaced.
    pub fn decode(&self, ids: &[Token]) -> Result<String> {
        self.decode_bytes(ids, false).map(utf8)
    }

    /// Tokens to bytes, which may end within a character.
    pub fn decode_bytes(&self, ids: &[Token], show_special: bool) -> Result<Vec<u8>> {
        let flags = if show_special { sys::MOE_DECODE_SPECIAL } else { 0 };
        // SAFETY: as above.
        unsafe {
            collect_text(|dst, cap, n| {
                sys::moe_tokenizer_decode(self.raw, ids.as_ptr(), ids.len(), flags, dst, cap, n)
            })
        }
    }

    /// Decodes a stream token by token, whole characters only.
    pub fn decoder(&self, show_special: bool) -> Decoder {
        let mut state = sys::MOE_STREAM_INIT;
        state.flags = if show_special { sys::MOE_DECODE_SPECIAL } else { 0 };
        Decoder { tokenizer: self.clone(), state, text: vec![0; 64] }
    }

    /// The bytes of a token (special tokens: their name).
    pub fn piece(&self, id: Token) -> Result<&[u8]> {
        let (mut piece, mut len) = (ptr::null(), 0);
        // SAFETY: the bytes live as long as the tokenizer.
        unsafe {
            check(sys::moe_tokenizer_piece(self.raw, id, &mut piece, &mut len))?;
            Ok(slice_at(piece.cast(), len))
        }
    }

    /// What kind of token it is; nothing for one out of range.
    pub fn attr(&self, id: Token) -> TokenAttr {
        // SAFETY: takes any token.
        TokenAttr(unsafe { sys::moe_tokenizer_attr(self.raw, id) })
    }

    /// Whether generation should stop at a token.
    pub fn is_end(&self, id: Token) -> bool {
        self.attr(id).is_end()
    }

    /// A special token, if the vocabulary has it.
    pub fn special(&self, which: Special) -> Option<Token> {
        // SAFETY: takes any number.
        let id = unsafe { sys::moe_tokenizer_special(self.raw, which.to_raw()) };
        (id != sys::MOE_TOKEN_NONE).then_some(id)
    }

    /// The token with exactly these bytes, or this special name.
    pub fn find(&self, piece: impl AsRef<[u8]>) -> Option<Token> {
        let piece = piece.as_ref();
        let mut id = sys::MOE_TOKEN_NONE;
        // SAFETY: piece has the length that is said.
        let status = unsafe {
            sys::moe_tokenizer_find(self.raw, piece.as_ptr() as *const c_char, piece.len(), &mut id)
        };
        (status == 0).then_some(id)
    }

    /// Formats a conversation of (role, text) with the file's chat template. Encode the result with
    /// [`Encode::special`] and without [`Encode::bos`].
    pub fn chat<R: AsRef<str>, T: AsRef<str>>(
        &self,
        messages: &[(R, T)],
        add_assistant: bool,
    ) -> Result<String> {
        let texts = messages
            .iter()
            .map(|(role, text)| Ok((c_text(role.as_ref())?, c_text(text.as_ref())?)))
            .collect::<Result<Vec<_>>>()?;
        let raw: Vec<sys::moe_message> = texts
            .iter()
            .map(|(role, text)| sys::moe_message {
                role: role.as_ptr(),
                text: text.as_ptr(),
                ..Default::default()
            })
            .collect();
        let flags = if add_assistant { sys::MOE_CHAT_ADD_ASSISTANT } else { 0 };
        // SAFETY: the messages live during the call.
        let bytes = unsafe {
            collect_text(|dst, cap, n| {
                sys::moe_tokenizer_chat(self.raw, raw.as_ptr(), raw.len(), flags, dst, cap, n)
            })
        }?;
        Ok(utf8(bytes))
    }

    /// Name of the recognised chat template.
    pub fn chat_name(&self) -> Option<&'static str> {
        // SAFETY: static text or NULL.
        unsafe {
            let p = sys::moe_tokenizer_chat_name(self.raw);
            (!p.is_null()).then(|| static_text(p))
        }
    }

    /// Whether both have the same tokens; `Err` holds the first that differs, if that is what differs.
    pub fn same(&self, other: &Tokenizer) -> Result<(), Option<Token>> {
        let mut first = sys::MOE_TOKEN_NONE;
        // SAFETY: two valid tokenizers.
        if unsafe { sys::moe_tokenizer_same(self.raw, other.raw, &mut first) } != 0 {
            return Ok(());
        }
        Err((first != sys::MOE_TOKEN_NONE).then_some(first))
    }
}

/// Decodes a stream of tokens; bytes of a character that is not complete wait for the next token.
///
/// ```
/// # fn main() -> moe::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/models/demo.gguf");
/// let tokenizer = moe::Tokenizer::open(path)?;
/// let mut decoder = tokenizer.decoder(false);
/// let mut text = String::new();
/// for id in tokenizer.encode("a café")? {
///     text += decoder.push(id)?;
/// }
/// text += decoder.finish()?;
/// assert_eq!(text, "a café");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Decoder {
    tokenizer: Tokenizer,
    state: sys::moe_stream,
    text: Vec<u8>,
}

impl Decoder {
    /// The text that a token completes; may be empty.
    pub fn push(&mut self, id: Token) -> Result<&str> {
        loop {
            let mut len = 0;
            let (dst, cap) = (self.text.as_mut_ptr() as *mut c_char, self.text.len());
            // SAFETY: a valid tokenizer, a state of its own, room as said.
            let status = unsafe {
                sys::moe_tokenizer_stream(self.tokenizer.raw, &mut self.state, id, dst, cap, &mut len)
            };
            if status == sys::MOE_E_BUFFER && len > cap {
                self.text.resize(len, 0); // the state is unchanged
                continue;
            }
            check(status)?;
            return std::str::from_utf8(&self.text[..len.min(cap)])
                .map_err(|_| Error::new(Status::Internal, "the decoder gave half a character"));
        }
    }

    /// Ends the text: bytes that wait come out as U+FFFD.
    pub fn finish(&mut self) -> Result<&str> {
        self.push(sys::MOE_TOKEN_NONE)
    }
}
