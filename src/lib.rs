//! Fathom: DeepSeek-V3.2 on a workstation's CPU.
