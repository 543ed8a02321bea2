"""The commands of `hdiff`, one file each; heavy imports happen inside them."""
