//! Arbitrary input for [`linux_patch_api::fuzz::os_release`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| linux_patch_api::fuzz::os_release(input));
