"""Records of people and photographs, and the input pipeline of training and evaluation."""
