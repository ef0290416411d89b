"""The networks of Stable Diffusion: UNet, VAE and CLIP text encoder, and their settings."""
