//! A thin binding of the C library for models of bytes: open, score, generate.

use std::ffi::{c_char, c_int, CStr, CString};
use std::ptr::NonNull;

#[repr(C)]
struct Error {
    text: [c_char; 512],
}

impl Error {
    fn new() -> Self {
        Error { text: [0; 512] }
    }
    fn message(&self) -> String {
        // The library ends every message by a zero.
        unsafe { CStr::from_ptr(self.text.as_ptr()) }.to_string_lossy().into_owned()
    }
}

#[repr(C)]
struct Sampling {
    temperature: f64,
    top_k: i64,
    top_p: f64,
    min_p: f64,
    end: i64,
    may_end: c_int,
}

#[repr(C)]
struct Random {
    state: [u64; 2],
    increment: [u64; 2],
}

#[repr(C)]
struct RawModel {
    _private: [u8; 0],
}
#[repr(C)]
struct RawSession {
    _private: [u8; 0],
}

extern "C" {
    fn cpu1_version() -> c_int;
    fn cpu1_model_open(path: *const c_char, isa: *const c_char, error: *mut Error) -> *mut RawModel;
    fn cpu1_model_close(model: *mut RawModel);
    fn cpu1_model_separator(model: *const RawModel) -> i64;
    fn cpu1_session_new(model: *const RawModel, streams: i64, threads: c_int, error: *mut Error) -> *mut RawSession;
    fn cpu1_session_close(session: *mut RawSession);
    fn cpu1_session_advance(
        session: *mut RawSession,
        units: *const *const u32,
        counts: *const i64,
        error: *mut Error,
    ) -> c_int;
    fn cpu1_session_score(
        session: *mut RawSession,
        stream: i64,
        units: *const u32,
        count: i64,
        nats: *mut f64,
        error: *mut Error,
    ) -> c_int;
    fn cpu1_random_seed(seed: u64) -> Random;
    fn cpu1_session_generate(
        session: *mut RawSession,
        sampling: *const Sampling,
        random: *mut Random,
        count: i64,
        out: *mut u32,
        made: *mut i64,
        error: *mut Error,
    ) -> c_int;
}

/// Major and minor version of the library.
pub fn version() -> (i32, i32) {
    let both = unsafe { cpu1_version() };
    (both / 1000, both % 1000)
}

/// A packed model of bytes. It is read-only, and threads may share it.
pub struct Model(NonNull<RawModel>);

unsafe impl Send for Model {}
unsafe impl Sync for Model {}

/// One document. The library keeps what a session needs of its model.
pub struct Session {
    raw: NonNull<RawSession>,
    separator: i64,
}

unsafe impl Send for Session {}

impl Model {
    pub fn open(path: &str) -> Result<Self, String> {
        let path = CString::new(path).map_err(|e| e.to_string())?;
        let mut error = Error::new();
        let raw = unsafe { cpu1_model_open(path.as_ptr(), std::ptr::null(), &mut error) };
        NonNull::new(raw).map(Model).ok_or_else(|| error.message())
    }

    pub fn session(&self) -> Result<Session, String> {
        let mut error = Error::new();
        let raw = unsafe { cpu1_session_new(self.0.as_ptr(), 1, 1, &mut error) };
        let separator = unsafe { cpu1_model_separator(self.0.as_ptr()) };
        NonNull::new(raw).map(|raw| Session { raw, separator }).ok_or_else(|| error.message())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { cpu1_model_close(self.0.as_ptr()) }
    }
}

impl Session {
    /// Reads a text.
    pub fn read(&mut self, text: &[u8]) -> Result<(), String> {
        let units: Vec<u32> = text.iter().map(|&b| b.into()).collect();
        let (stream, count, mut error) = (units.as_ptr(), units.len() as i64, Error::new());
        let done = unsafe { cpu1_session_advance(self.raw.as_ptr(), &stream, &count, &mut error) };
        if done != 0 { Ok(()) } else { Err(error.message()) }
    }

    /// Reads a text; the bits that each byte cost.
    pub fn score(&mut self, text: &[u8]) -> Result<Vec<f64>, String> {
        let units: Vec<u32> = text.iter().map(|&b| b.into()).collect();
        let (mut nats, mut error) = (vec![0.0; units.len()], Error::new());
        let count = units.len() as i64;
        let done = unsafe {
            cpu1_session_score(self.raw.as_ptr(), 0, units.as_ptr(), count, nats.as_mut_ptr(), &mut error)
        };
        if done == 0 {
            return Err(error.message());
        }
        Ok(nats.iter().map(|n| n / std::f64::consts::LN_2).collect())
    }

    /// At most `most` bytes that continue the text, drawn with a seed.
    pub fn generate(&mut self, most: usize, temperature: f64, seed: u64) -> Result<Vec<u8>, String> {
        let how = Sampling { temperature, top_k: 0, top_p: 1.0, min_p: 0.0, end: self.separator, may_end: 1 };
        let (mut random, mut made, mut error) = (unsafe { cpu1_random_seed(seed) }, 0i64, Error::new());
        let mut out = vec![0u32; most];
        let done = unsafe {
            cpu1_session_generate(
                self.raw.as_ptr(), &how, &mut random, most as i64, out.as_mut_ptr(), &mut made, &mut error,
            )
        };
        if done == 0 {
            return Err(error.message());
        }
        Ok(out[..made as usize].iter().map(|&unit| unit as u8).collect())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { cpu1_session_close(self.raw.as_ptr()) }
    }
}
