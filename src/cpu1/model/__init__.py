"""What a model is: recipes of ingredients, the ladder, the torch network of a recipe, and its lowering to a program."""
