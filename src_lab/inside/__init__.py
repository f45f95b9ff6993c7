"""Looking inside a run: the analyses of its networks, as tables and pictures in its folder `analysis/`."""
