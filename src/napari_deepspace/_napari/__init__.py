"""The dock in napari. The only package that imports napari, Qt, magicgui or superqt; torch never enters its process."""
