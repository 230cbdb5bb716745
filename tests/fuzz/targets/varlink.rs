//! Arbitrary input for [`linux_patch_api::fuzz::varlink`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linux_patch_api::fuzz::varlink(input));
