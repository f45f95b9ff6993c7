"""Features of images into a file for `dataset=features`: CIFAR-10's, or those of a folder of images such as CUB-200-2011's,
by a network of torchvision without its last layer. Downloads the network's weights, and CIFAR-10, where they are missing."""

import argparse
import sys
from pathlib import Path

import torch

from src_lab.data import default_root
from src_lab.data.extract import cifar10, extract, folders, pretrained, save_features
from src_lab.settings import ConfigError


def main() -> int:
    """Exit status: 0 when the file was written, 2 when it could not be."""
    arguments = parse_arguments()
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        if arguments.out.suffix != ".npz":
            raise ConfigError(f"--out={arguments.out} is not allowed: must end in .npz, e.g. --out=features.npz")
        network, transform = pretrained(arguments.network)
        read = cifar10 if arguments.images == Path("cifar10") else folders
        parts = read(default_root() if read is cifar10 else arguments.images, transform)
        train, test = (extract(network, part, device=device, batch_size=arguments.batch_size) for part in parts)
        save_features(arguments.out, train, test)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {len(train[1])} training and {len(test[1])} test images, {train[0].shape[1]} features each")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, metavar="IMAGES", help="cifar10, or a folder with a folder of images per class")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .npz file to write")
    parser.add_argument("--network", default="resnet50", help="a network of torchvision (default: resnet50, 2048 features)")
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--batch-size", type=int, default=100, metavar="N", help="images at once (default: 100)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
