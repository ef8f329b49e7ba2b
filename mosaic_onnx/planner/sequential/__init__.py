"""Plans that run one slice at a time on any graph, with bounds."""
