"""The two networks of Defect-GAN and the layers they are made of."""
